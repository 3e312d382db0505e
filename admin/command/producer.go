package command

import (
	"github.com/spf13/cobra"

	"pipit/admin/command/fieldflag"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
)

func (c *cli) producerCommand() *cobra.Command {
	n := noun{
		one: "producer", path: "producers",
		keys: []string{"ID|CLIENT", "[TOPIC]"}, complete: c.idCompletion(c.completeProducer), key: c.byID("producer", "producers"), flags: fieldflag.Of(broker.ProducerFields),
	}
	list := listCommand(c, "producers", n.path, object.ProducerSorts.Keys(), object.ProducerParts, true, []column[object.Producer]{
		figure("ID", func(v *object.Producer) string { return number(v.ID) }),
		names("CLIENT", func(v *object.Producer) string { return v.Client }),
		names("TOPIC", func(v *object.Producer) string { return v.Topic }),
		text("ACTIVE", func(v *object.Producer) string { return yesNo(!v.Inactive) }),
		moment("LAST SEEN", func(v *object.Producer) gate.Time { return v.LastSeen }),
	})
	list.Example = `  pipit producer list
  pipit producer list --topic /customer/created`
	show := c.showCommand(n)
	show.Example = `  pipit producer show 3
  pipit producer show crm /customer/created`
	create := c.createCommand(n, []string{"client", "topic"}, nil, nil)
	create.Example = "  pipit producer create crm /customer/created"
	edit := c.editCommand(n, nil)
	edit.Example = "  pipit producer edit crm /customer/created --active=false"
	del := c.deleteCommand(n)
	del.Example = `  pipit producer delete 3
  pipit producer delete crm /customer/created --yes`
	return group("producer", "Producers: which client may publish to which topic", list, show, create, edit, del)
}
