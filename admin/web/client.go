package web

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/shell"
	"pipit/broker"
)

// clientPages are the pages of clients.
type clientPages struct{ *Site }

// pages describes what they have in common with those of other nouns.
func (cp clientPages) pages() *pages[object.Client] {
	return &pages[object.Client]{
		Noun: cp.Objects.Clients(),
		site: cp.Site,
		orders: []order{
			{Key: "username", Label: "Username"},
			{Key: "name", Label: "Name"},
			{Label: "State"},
			{Label: "Producers", Number: true},
			{Label: "Consumers", Number: true},
			{Key: "last_seen", Label: "Last seen", Down: true},
		},
		inactive: func(c *object.Client) *bool { return &c.Inactive },
		example:  `{"username": "crm", "password": "change me"}`,
		newFields: func(url.Values) []field {
			c := object.NewClient()
			fields := settingFields(broker.ClientFields, &c.Client, true)
			fields[0].Focus = true
			fields[slices.IndexFunc(fields, func(x field) bool { return x.Name == "password" })].Hint = "At most 72 bytes. Empty: one is made and shown once"
			return fields
		},
		editFields: func(c *object.Client) []field {
			fields := settingFields(broker.ClientFields, &c.Client, false)
			return slices.Insert(fields, len(fields)-1, field{Name: "generate", Label: "Make a password", Type: "checkbox", Hint: "It is shown once", Order: true})
		},
		read:   readClient,
		answer: cp.answerPassword,
		show:   cp.pageClient,
		deletes: func(c *object.Client) deletion {
			return deletion{
				lead:  "This deletes the client " + c.Username + ". For ten minutes it can be brought back, but not the messages of its consumers.",
				label: "Type the username to confirm", expected: c.Username,
				to: "/admin/clients", called: c.Username,
			}
		},
	}
}

// readClient brings a client to what was typed. A new one without a password gets one that is made, and so
// does another one where that is asked for.
func readClient(f *form, c *object.Client) error {
	if err := readSettings(f, broker.ClientFields, &c.Client); err != nil {
		return err
	}
	generate := f.field("generate")
	switch isNew := generate == nil; {
	case !isNew && generate.Value == checked && c.Password != "":
		return &fieldError{"password", "Either type a password or have one made"}
	case isNew && c.Password == "", !isNew && generate.Value == checked:
		c.Password = rand.Text()
	}
	return nil
}

// clientPath is the path of a client's page.
func clientPath(username string) string { return "/admin/clients/" + text.Segment(username) }

type passwordPage struct {
	object.Client
	Password string
	Command  string
}

// answerPassword goes on to the page that shows a password that was made: a secret has no place in a cookie or an address, so it is on the shelf.
func (cp clientPages) answerPassword(w http.ResponseWriter, r *http.Request, f *form, c, _ *object.Client) (answered bool, err error) {
	if c.Password == "" || c.Password == f.get("password") { // none, or a typed one
		return false, nil
	}
	page := passwordPage{Client: *c, Password: c.Password, Command: shell.Password(c.Username, c.Password)}
	once := cp.once.put(access.CallerOf(r.Context()).SessionID(), page)
	return true, cp.done(w, r, clientPath(c.Username)+"?"+url.Values{"password": {once}}.Encode(), "")
}

type clientPage struct {
	object.Client
	Back         link
	Settings     []setting
	ProducerList gate.List[object.Producer]
	ConsumerList gate.List[object.Consumer]
	AddProducer  *form
	AddConsumer  *form
	Commands     []shell.Command
	Refusals     []monitor.RefusalGroup
}

func (cp clientPages) pageClient(w http.ResponseWriter, r *http.Request, c *object.Client) (err error) {
	if made, ok := shelvedOf[passwordPage](&cp.once, access.CallerOf(r.Context()).SessionID(), r.URL.Query().Get("password")); ok && made.Username == c.Username {
		return cp.render(w, r, "client_password", http.StatusOK, view{Title: "Password of " + c.Username, Nav: "clients", Data: made})
	}
	page := clientPage{Client: *c, Back: link{"/admin/clients", "Clients"}, Settings: settings(broker.ClientFields, &c.Client, cp.isPattern)}
	if page.ProducerList, err = cp.Objects.Producers().List(gate.Query{Client: c.Username, Sort: "topic", Limit: maxBeside}); err != nil {
		return err
	}
	if page.ConsumerList, err = cp.Objects.Consumers().List(gate.Query{Client: c.Username, Sort: "topic", Limit: maxBeside}); err != nil {
		return err
	}
	page.Refusals = cp.refusedLately(monitor.RefusalFilter{Client: c.Username})
	names := cp.topicNames()
	page.AddProducer = newForm("add-producer", "/admin/producers", "Add producer",
		settingField(broker.ProducerFields, "topic", names),
		field{Name: "client", Type: "hidden", Value: c.Username},
		field{Name: "is_active", Type: "hidden", Value: checked},
		field{Name: "back", Type: "hidden", Value: "client"})
	page.AddConsumer = newForm("add-consumer", "/admin/consumers", "Add consumer",
		settingField(broker.ConsumerFields, "topic", names),
		settingField(broker.ConsumerFields, "start", nil),
		field{Name: "client", Type: "hidden", Value: c.Username},
		field{Name: "is_active", Type: "hidden", Value: checked})
	for _, x := range page.ProducerList.Items {
		if cp.publishes(&x.Producer) {
			page.Commands = cp.bases(r).Publish(c.Username, x.Topic)[:1]
			break
		}
	}
	for _, x := range page.ConsumerList.Items {
		if receives(&x.Consumer) {
			page.Commands = append(page.Commands, cp.bases(r).Receive(c.Username, x.Topic, "")[:1]...)
			break
		}
	}
	return cp.render(w, r, "client", http.StatusOK, view{Title: c.Username, Nav: "clients", Data: page,
		Live: liveURL("client", c.Username, partNames(page.ProducerList.Items), partNames(page.ConsumerList.Items))})
}
