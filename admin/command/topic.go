package command

import (
	"github.com/spf13/cobra"

	"pipit/admin/command/fieldflag"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
)

func (c *cli) topicCommand() *cobra.Command {
	n := noun{
		one: "topic", path: "topics",
		keys: []string{"NAME"}, complete: inOrder(c.completeTopic), key: byName, flags: fieldflag.Of(broker.TopicFields),
	}
	list := listCommand(c, "topics", n.path, object.TopicSorts.Keys(), object.TopicParts, false, []column[object.Topic]{
		names("NAME", func(t *object.Topic) string { return t.Name }),
		text("KIND", func(t *object.Topic) string {
			if t.AutoCreate {
				return "template"
			}
			return "topic"
		}).less(5),
		text("ACTIVE", func(t *object.Topic) string { return yesNo(!t.Inactive) }).less(1),
		figure("DEPTH", func(t *object.Topic) string { return number(t.Depth) }),
		figure("MAX DEPTH", func(t *object.Topic) string { return number(t.MaxDepth) }).less(3),
		figure("PRODUCERS", func(t *object.Topic) string { return number(t.Producers) }).less(4),
		figure("CONSUMERS", func(t *object.Topic) string { return number(t.Consumers) }).less(2),
		moment("LAST PUBLISH", func(t *object.Topic) gate.Time { return t.LastPublish }),
	})
	list.Example = `  pipit topic list
  pipit topic list --search customer --sort depth --desc --limit 10
  pipit topic list --only full
  pipit topic list --json | jq -r '.items[].name'`
	show := c.showCommand(n)
	show.Example = "  pipit topic show /customer/created"
	create := c.createCommand(n, []string{"name"}, nil, nil)
	create.Example = `  pipit topic create /customer/created
  pipit topic create /invoice/paid --max-depth 50000 --expiration 86400 --dedup-window 1h
  pipit topic create '/order/*' --auto-create --max-topics 200 --retention 24h`
	edit := c.editCommand(n, nil)
	edit.Example = `  pipit topic edit /customer/created --expiration 0
  pipit topic edit /customer/created --active=false`
	del := c.deleteCommand(n)
	del.Example = `  pipit topic delete /customer/created
  pipit topic delete /customer/created --yes`
	return group("topic", "Topics, which producers publish to", list, show, create, edit, del)
}
