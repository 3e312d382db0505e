package admin

import (
	"crypto/rand"
	"net/http"

	"pipit/broker"
	"pipit/broker/clip"
)

var clientOrders = []order{
	{Key: "username", Label: "Username"},
	{Key: "name", Label: "Name"},
	{Label: "State"},
	{Label: "Producers", Number: true},
	{Label: "Consumers", Number: true},
	{Key: "last_seen", Label: "Last seen", Down: true},
}

type clientsPage struct {
	listing
	Items []Client
}

func (a *Admin) pageClients(w http.ResponseWriter, r *http.Request, _ params) error {
	if r.URL.Query().Has("new") {
		return a.renderNewClient(w, r, 0, newClientForm())
	}
	page := clientsPage{listing: readListing(r, clientOrders...)}
	l, err := a.listClients(page.query)
	if err != nil {
		return err
	}
	page.Items = l.Items
	page.found(len(l.Items), l.Total, l.Next)
	page.Example = a.bases(r).createCommand("clients", `{"username": "crm", "password": "change me"}`)
	return a.render(w, r, "clients", http.StatusOK, view{Title: "Clients", Nav: "clients", Data: page})
}

func clientFields(c *Client, password string) []field {
	return []field{
		{Name: "name", Label: "Name", Value: c.Name, Hint: "What consumers see as the producer of a message. Empty: the username"},
		{Name: "password", Label: "Password", Type: "password", Hint: password},
		{Name: "generate", Label: "Make a password", Type: "checkbox", Hint: "It is shown once"},
		{Name: "is_active", Label: "Active", Type: "checkbox", Value: onOff(c.Active), Hint: "An inactive client cannot log in"},
	}
}

func newClientForm() *form {
	c := newClient()
	fields := append([]field{{Name: "username", Label: "Username", Required: true, Hint: "For HTTP Basic authentication", Focus: true}},
		clientFields(&c, "At most 72 bytes. Empty: one is made and shown once")...)
	f := newForm("client", "/admin/clients", "Create client", fields...)
	f.drop("generate")
	return f
}

func editClientForm(c *Client) *form {
	f := newForm("client", clientPath(c.Username)+"/edit", "Save", clientFields(c, "Empty: it stays as it is")...)
	f.Revision = c.Revision
	return f
}

// clientPath is the path of a client's page.
func clientPath(username string) string { return "/admin/clients/" + segment(username) }

func (f *form) readClient(c *ClientDefinition) {
	c.Name = f.get("name")
	c.Password = f.get("password")
	c.Active = f.on("is_active")
}

func (a *Admin) renderNewClient(w http.ResponseWriter, r *http.Request, status int, f *form) error {
	f.set("password", "") // a page never holds one
	return a.renderForm(w, r, status, "clients", "New client", formPage{Back: link{"/admin/clients", "Clients"}, Form: f})
}

func (a *Admin) pageCreateClient(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	f := newClientForm()
	f.typed(v)
	c := newClient()
	c.Username = f.get("username")
	f.readClient(&c.ClientDefinition)
	made := c.Password == ""
	if made {
		c.Password = rand.Text()
	}
	password := c.Password
	c, err = a.createClient(r.Context(), actorOf(r.Context()), c)
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderNewClient(w, r, status, f)
	}
	if made {
		return a.renderPassword(w, r, &c, password)
	}
	return a.done(w, r, clientPath(c.Username), "The client was created"+warned(c.Warnings))
}

type passwordPage struct {
	Client
	Password string
	Command  string
}

// renderPassword shows a password that was made, once. It is the answer to the form itself: a
// secret has no place in a cookie or an address.
func (a *Admin) renderPassword(w http.ResponseWriter, r *http.Request, c *Client, password string) error {
	page := passwordPage{Client: *c, Password: password, Command: "PASSWORD=" + shellQuote(password)}
	return a.render(w, r, "client_password", http.StatusOK, view{Title: "Password of " + c.Username, Nav: "clients", Data: page})
}

type clientPage struct {
	Client
	Back         link
	ProducerList list[Producer]
	ConsumerList list[Consumer]
	AddProducer  *form
	AddConsumer  *form
	Commands     []command
}

func (a *Admin) pageClient(w http.ResponseWriter, r *http.Request, p params) error {
	c, err := a.getClient(unsegment(p["username"]))
	if err != nil {
		return err
	}
	page := clientPage{Client: c, Back: link{"/admin/clients", "Clients"}}
	if page.ProducerList, err = a.listProducers(query{Client: c.Username, Sort: "topic", Limit: maxBeside}); err != nil {
		return err
	}
	if page.ConsumerList, err = a.listConsumers(query{Client: c.Username, Sort: "topic", Limit: maxBeside}); err != nil {
		return err
	}
	names := a.topicNames()
	page.AddProducer = newForm("add-producer", "/admin/producers", "Add producer",
		field{Name: "topic", Label: "Topic", Required: true, Options: names, Hint: "Where the client may publish"},
		field{Name: "client", Type: "hidden", Value: c.Username},
		field{Name: "is_active", Type: "hidden", Value: checked},
		field{Name: "back", Type: "hidden", Value: "client"})
	page.AddConsumer = newForm("add-consumer", "/admin/consumers", "Add consumer",
		field{Name: "topic", Label: "Topic", Required: true, Options: names, Hint: "What the client gets a queue of"},
		startField(StartTail),
		field{Name: "client", Type: "hidden", Value: c.Username},
		field{Name: "is_active", Type: "hidden", Value: checked})
	if items := page.ProducerList.Items; len(items) > 0 {
		page.Commands = a.bases(r).publishCommands(c.Username, items[0].Topic)[:1]
	}
	if items := page.ConsumerList.Items; len(items) > 0 {
		page.Commands = append(page.Commands, a.bases(r).receiveCommands(c.Username, items[0].Topic, "")[:1]...)
	}
	return a.render(w, r, "client", http.StatusOK, view{Title: c.Username, Nav: "clients", Data: page})
}

func (a *Admin) pageEditClient(w http.ResponseWriter, r *http.Request, p params) error {
	c, err := a.getClient(unsegment(p["username"]))
	if err != nil {
		return err
	}
	return a.renderEditClient(w, r, 0, &c, editClientForm(&c))
}

func (a *Admin) renderEditClient(w http.ResponseWriter, r *http.Request, status int, c *Client, f *form) error {
	f.set("password", "")
	return a.renderForm(w, r, status, "clients", "Edit client "+c.Username, formPage{Back: link{clientPath(c.Username), c.Username}, Form: f})
}

func (a *Admin) pageSaveClient(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := a.getClient(unsegment(p["username"]))
	if err != nil {
		return err
	}
	f := editClientForm(&c)
	f.typed(v)
	made, notice := "", "The client was saved"
	if f.on("generate") {
		made = rand.Text()
	}
	if made != "" && f.get("password") != "" {
		err = &fieldError{"password", "Either type a password or have one made"}
	} else {
		var edited Client
		edited, err = a.editClient(r.Context(), actorOf(r.Context()), c.Username, f.Revision, func(c *Client) error {
			f.readClient(&c.ClientDefinition)
			if made != "" {
				c.Password = made
			}
			return nil
		})
		notice += warned(edited.Warnings)
	}
	switch {
	case broker.CodeOf(err) == broker.Conflict:
		if c, err = a.getClient(c.Username); err != nil {
			return err
		}
		now := editClientForm(&c)
		now.set("generate", f.get("generate"))
		f.conflict(now)
		return a.renderEditClient(w, r, http.StatusConflict, &c, f)
	case err != nil:
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return a.renderEditClient(w, r, status, &c, f)
	case made != "":
		return a.renderPassword(w, r, &c, made)
	}
	return a.done(w, r, clientPath(c.Username), notice)
}

func (a *Admin) dropClientPage(c *Client) (formPage, error) {
	lost, err := a.whatGoes(broker.KindClient, c.Username)
	return dropPage(link{clientPath(c.Username), c.Username}, clientPath(c.Username)+"/delete", "the client "+c.Username,
		"Type the username to confirm", c.Username, c.Revision, lost), err
}

func (a *Admin) pageDropClient(w http.ResponseWriter, r *http.Request, p params) error {
	c, err := a.getClient(unsegment(p["username"]))
	if err != nil {
		return err
	}
	page, err := a.dropClientPage(&c)
	if err != nil {
		return err
	}
	return a.renderForm(w, r, 0, "clients", "Delete client "+c.Username, page)
}

func (a *Admin) pageDeleteClient(w http.ResponseWriter, r *http.Request, p params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	c, err := a.getClient(unsegment(p["username"]))
	if err != nil {
		return err
	}
	page, err := a.dropClientPage(&c)
	if err != nil {
		return err
	}
	page.Form.typed(v)
	var gone Deleted
	if err = page.Form.confirmed(c.Username); err == nil {
		gone, err = a.deleteClient(r.Context(), actorOf(r.Context()), c.Username, page.Form.Revision)
	}
	if err != nil {
		return a.renderUndeleted(w, r, err, "clients", "Delete client "+c.Username, page, c.Revision)
	}
	return a.done(w, r, "/admin/clients", "The client "+clip.Input(c.Username)+" was deleted"+with(gone))
}
