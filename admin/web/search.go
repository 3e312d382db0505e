package web

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker/limit"
)

// searchPages are the search from every page: over topics, clients, consumers and the IDs of messages.
type searchPages struct{ *Site }

func (sp searchPages) routes() []gate.Route {
	return []gate.Route{gate.Get("/admin/search", sp.pageSearch, gate.Read)}
}

// Limits of what a search shows.
const (
	maxHits  = 20 // of each kind on its page
	typeHits = 5  // of each kind while one types
)

// hit is something that was found.
type hit struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Detail string `json:"detail,omitempty"`
	URL    string `json:"url"`
}

// hits are what was found of a kind, and where all of them are.
type hits struct {
	Heading string
	Items   []hit
	Total   int
	All     string // URL of the list
}

type searchPage struct {
	Search string
	Kinds  []hits
	ByID   string // URL that looks for a message
}

func (sp searchPages) pageSearch(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	search := strings.TrimSpace(r.URL.Query().Get("q"))
	w.Header().Add("Vary", "Accept")
	if !gate.WantsPage(r) {
		return sp.answerTyping(w, search)
	}
	page := searchPage{Search: search}
	if search != "" {
		var err error
		if page.Kinds, err = sp.find(search, maxHits); err != nil {
			return err
		}
		if page.ByID = byID(search); page.ByID != "" && len(page.Kinds) == 0 {
			if found, err := sp.toMessage(w, r, search); found || err != nil {
				return err
			}
		}
		if len(page.Kinds) == 1 && page.Kinds[0].Total == 1 && page.ByID == "" {
			http.Redirect(w, r, page.Kinds[0].Items[0].URL, http.StatusSeeOther) // #nosec G710 -- likewise
			return nil
		}
	}
	return sp.render(w, r, "search", http.StatusOK, view{Title: "Search", Data: page})
}

// toMessage goes to the message of an ID, or to what happened to it, or to those of a correlation ID. It is false where there are
// none.
func (sp searchPages) toMessage(w http.ResponseWriter, r *http.Request, id string) (found bool, err error) {
	mp := messagePages(sp)
	if topic, err := mp.findMessage("", id); err == nil {
		http.Redirect(w, r, messagePath(topic, id), http.StatusSeeOther) // #nosec G710 -- a path of ours, with the names escaped
		return true, nil
	}
	return mp.findGone(w, r, "", id)
}

// answerTyping answers a script with what is found so far. Messages are not looked for: where a text could be the ID of one, its
// page is among what can be chosen.
func (sp searchPages) answerTyping(w http.ResponseWriter, search string) error {
	list := []hit{}
	if search != "" {
		kinds, err := sp.find(search, typeHits)
		if err != nil {
			return err
		}
		for _, k := range kinds {
			list = append(list, k.Items...)
		}
		if to := byID(search); to != "" {
			list = append(list, hit{Kind: "message", Name: search, Detail: "by its ID or correlation ID", URL: to})
		}
	}
	for i := range list {
		list[i].URL = sp.Reach.PathPrefix + list[i].URL
		list[i].Name = text.Shown(list[i].Name)
	}
	body, err := json.Marshal(list)
	if err != nil {
		return err
	}
	w.Header().Set(contentType, "application/json")
	_, _ = w.Write(body) // the reader has left: nobody to tell
	return nil
}

// byID is where a message of an ID is looked for, empty where it can be none.
func byID(search string) string {
	if limit.CheckMessageID(search) != nil || strings.Contains(search, "/") {
		return ""
	}
	return "/admin/messages?" + url.Values{"id": {search}}.Encode()
}

// find returns what contains a text, at most so many of each kind: what has it for its name comes first.
func (sp searchPages) find(search string, most int) (kinds []hits, err error) {
	q := gate.Query{Search: search, Limit: most}
	v := url.Values{"search": {search}}.Encode()
	topics, err := sp.Objects.Topics().List(q)
	if err != nil {
		return nil, err
	}
	for _, name := range []string{search, "/" + search} {
		if t, err := sp.Objects.Topics().LookUp(name); err == nil {
			topics.Items = slices.DeleteFunc(topics.Items, func(x object.Topic) bool { return x.Name == name })
			topics.Items = slices.Insert(topics.Items, 0, t)
		}
	}
	k := hits{Heading: "Topics", Total: topics.Total, All: "/admin/topics?" + v}
	for i := range topics.Items[:min(most, len(topics.Items))] {
		t := &topics.Items[i]
		k.Items = append(k.Items, hit{"topic", t.Name, off(t.Inactive, text.Count(t.Depth, "message", "messages")), topicPath(t.Name)})
	}
	kinds = append(kinds, k)

	clients, err := sp.Objects.Clients().List(q)
	if err != nil {
		return nil, err
	}
	if c, err := sp.Objects.Clients().LookUp(search); err == nil {
		clients.Items = slices.DeleteFunc(clients.Items, func(x object.Client) bool { return x.Username == c.Username })
		clients.Items = slices.Insert(clients.Items, 0, c)
	}
	k = hits{Heading: "Clients", Total: clients.Total, All: "/admin/clients?" + v}
	for i := range clients.Items[:min(most, len(clients.Items))] {
		c := &clients.Items[i]
		name := c.Name
		if name == c.Username {
			name = ""
		}
		k.Items = append(k.Items, hit{"client", c.Username, off(c.Inactive, name), clientPath(c.Username)})
	}
	kinds = append(kinds, k)

	consumers, err := sp.Objects.Consumers().List(q)
	if err != nil {
		return nil, err
	}
	if c, err := sp.Objects.Consumers().LookUp(search); err == nil { // by its number
		consumers.Items, consumers.Total = slices.Insert(consumers.Items, 0, c), consumers.Total+1
	}
	k = hits{Heading: "Consumers", Total: consumers.Total, All: "/admin/consumers?" + v}
	for i := range consumers.Items[:min(most, len(consumers.Items))] {
		c := &consumers.Items[i]
		id := "consumer " + strconv.FormatUint(uint64(c.ID), 10)
		k.Items = append(k.Items, hit{"consumer", object.OfTopic(c.Label(), c.Topic), off(c.Inactive, id), consumerPath(c.ID)})
	}
	kinds = append(kinds, k)
	return slices.DeleteFunc(kinds, func(k hits) bool { return len(k.Items) == 0 }), nil
}

// off is a detail, where nothing of more weight is to be said.
func off(inactive bool, detail string) string {
	if inactive {
		return "inactive"
	}
	return detail
}
