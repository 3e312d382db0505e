package admin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/broker"
	"pipit/broker/clip"
)

// v1 is where the paths of the API begin.
const v1 = "/admin/api/v1"

// apiRoutes returns the routes of the API. openapi.json describes each of them.
func (a *Admin) apiRoutes() []route {
	return slices.Concat(
		a.clients().routes(),
		a.topics().routes(),
		a.producers().routes(),
		a.consumers().routes(),
		a.queueRoutes(),
		a.messageRoutes(),
		a.statsRoutes(),
		a.definitionRoutes(),
		a.systemRoutes(),
		[]route{{"GET", v1 + "/openapi.json", a.apiOpenAPI, read}},
	)
}

// noun is a kind of object, with what the API can do to one. All of them have the same routes.
type noun[T any] struct {
	kind     broker.Kind
	path     string   // of the list
	param    string   // of the path of one
	filters  []string // parameters of the list, beside those of every list
	fresh    func() T // what holds where a new one says nothing
	list     func(query) (list[T], error)
	get      func(key string) (T, error)
	create   func(context.Context, actor, T) (T, error)
	edit     func(ctx context.Context, who actor, key, revision string, edit func(*T) error) (T, error)
	delete   func(ctx context.Context, who actor, key, revision string) (Deleted, error)
	goes     func(broker.Kind, string) (Deleted, error)
	key      func(*T) string // as param
	revision func(*T) string
	mask     func(*T)                    // takes away what the scope read does not see
	reveal   func(r *http.Request, v *T) // notes that it was shown, of an object, or of a list, where v is nil
}

func (n noun[T]) routes() []route {
	one := n.path + "/:" + n.param
	return []route{
		{"GET", n.path, n.apiList, read},
		{"POST", n.path, n.apiCreate, write},
		{"GET", one, n.apiGet, read},
		{"PATCH", one, n.apiEdit, write},
		{"DELETE", one, n.apiDelete, write},
		{"GET", one + "/deletion", n.apiDeletion, read},
	}
}

func (n noun[T]) show(v *T, who actor) {
	if who.Access < write && n.mask != nil {
		n.mask(v)
	}
}

// revealed is to be called with what show has let be shown.
func (n noun[T]) revealed(r *http.Request, v *T) {
	if n.reveal != nil && actorOf(r.Context()).Access >= write {
		n.reveal(r, v)
	}
}

func (n noun[T]) apiList(w http.ResponseWriter, r *http.Request, _ params) error {
	v, err := parseQuery(r, append([]string{"search", "sort", "desc", "limit", "cursor"}, n.filters...)...)
	if err != nil {
		return err
	}
	q := query{Search: v["search"], Sort: v["sort"], Cursor: v["cursor"], Topic: v["topic"], Client: v["client"]}
	if sort, given := v["sort"]; given && sort == "" {
		return badParameter("sort", "sort %q: allowed is what the list can be sorted by, or no such parameter", sort)
	}
	if q.Desc, err = v.flag("desc"); err != nil {
		return err
	}
	limit, err := v.integer("limit", defaultLimit, 1, maxLimit)
	if err != nil {
		return err
	}
	q.Limit = int(limit)
	page, err := n.list(q)
	if err != nil {
		return ofParameters(err)
	}
	for i := range page.Items {
		n.show(&page.Items[i], actorOf(r.Context()))
	}
	if len(page.Items) > 0 {
		n.revealed(r, nil)
	}
	return reply(w, http.StatusOK, page)
}

func (n noun[T]) apiCreate(w http.ResponseWriter, r *http.Request, _ params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	body, err := readBody(r, typeJSON)
	if err != nil {
		return err
	}
	in, err := parse(body)
	if err != nil {
		return err
	}
	v, byDefault := n.fresh(), n.fresh()
	if err := in.object(&v, &byDefault); err != nil {
		return err
	}
	if v, err = n.create(r.Context(), actorOf(r.Context()), v); err != nil {
		return created{err}
	}
	w.Header().Set("Location", n.path+"/"+pathSegment(n.key(&v)))
	return n.reply(w, r, http.StatusCreated, v)
}

func (n noun[T]) apiGet(w http.ResponseWriter, r *http.Request, p params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	v, err := n.get(p[n.param])
	if err != nil {
		return err
	}
	n.revealed(r, &v)
	return n.reply(w, r, http.StatusOK, v)
}

func (n noun[T]) apiEdit(w http.ResponseWriter, r *http.Request, p params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	body, err := readBody(r, typePatch, typeJSON)
	if err != nil {
		return err
	}
	patch, err := parse(body)
	if err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	if given, ok := patch.member("revision"); ok && revision == "" && given.value != nil {
		// An answer that is sent back, changed, is meant for what was answered.
		s, ok := given.value.(string)
		if !ok {
			return fieldErrors{given.fail("a text")}
		}
		revision = s
	}
	v, err := n.edit(r.Context(), actorOf(r.Context()), p[n.param], revision, func(v *T) error {
		byDefault := n.fresh()
		return patch.object(v, &byDefault)
	})
	if err != nil {
		return err
	}
	n.revealed(r, &v)
	return n.reply(w, r, http.StatusOK, v)
}

func (n noun[T]) apiDelete(w http.ResponseWriter, r *http.Request, p params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	deleted, err := n.delete(r.Context(), actorOf(r.Context()), p[n.param], revision)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, deleted)
}

func (n noun[T]) apiDeletion(w http.ResponseWriter, r *http.Request, p params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	goes, err := n.goes(n.kind, p[n.param])
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, goes)
}

// reply answers with an object, or says that it is the one that the caller has.
func (n noun[T]) reply(w http.ResponseWriter, r *http.Request, status int, v T) error {
	revision := n.revision(&v)
	n.show(&v, actorOf(r.Context()))
	body, err := marshal(v)
	if err != nil {
		return err
	}
	tag := etag(revision, body)
	w.Header().Set("ETag", tag)
	if isRead(r) && ifNoneMatch(r, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return replyJSON(w, status, body)
}

func (a *Admin) clients() noun[Client] {
	return noun[Client]{
		kind: broker.KindClient, path: v1 + "/clients", param: "username",
		fresh: newClient, list: a.listClients, get: a.getClient, create: a.createClient,
		edit: a.editClient, delete: a.deleteClient, goes: a.whatGoes,
		key:      func(c *Client) string { return c.Username },
		revision: func(c *Client) string { return c.Revision },
	}
}

func (a *Admin) topics() noun[Topic] {
	return noun[Topic]{
		kind: broker.KindTopic, path: v1 + "/topics", param: "name",
		fresh: newTopic, list: a.listTopics, get: a.getTopic, create: a.createTopic,
		edit: a.editTopic, delete: a.deleteTopic, goes: a.whatGoes,
		key:      func(t *Topic) string { return t.Name },
		revision: func(t *Topic) string { return t.Revision },
	}
}

func (a *Admin) producers() noun[Producer] {
	return noun[Producer]{
		kind: broker.KindProducer, path: v1 + "/producers", param: "id", filters: []string{"topic", "client"},
		fresh: newProducer, list: a.listProducers, create: a.createProducer, goes: a.whatGoes,
		get:      byID(broker.KindProducer, a.getProducer),
		edit:     editByID(broker.KindProducer, a.editProducer),
		delete:   deleteByID(broker.KindProducer, a.deleteProducer),
		key:      func(p *Producer) string { return refKey(broker.Ref{ID: p.ID}) },
		revision: func(p *Producer) string { return p.Revision },
	}
}

func (a *Admin) consumers() noun[Consumer] {
	return noun[Consumer]{
		kind: broker.KindConsumer, path: v1 + "/consumers", param: "id", filters: []string{"topic", "client"},
		fresh: newConsumer, list: a.listConsumers, create: a.createConsumer, goes: a.whatGoes,
		get:      byID(broker.KindConsumer, a.getConsumer),
		edit:     editByID(broker.KindConsumer, a.editConsumer),
		delete:   deleteByID(broker.KindConsumer, a.deleteConsumer),
		key:      func(c *Consumer) string { return refKey(broker.Ref{ID: c.ID}) },
		revision: func(c *Consumer) string { return c.Revision },
		mask:     func(c *Consumer) { c.SubKey = "" },
		reveal:   a.noteReveal,
	}
}

func byID[T any](kind broker.Kind, get func(uint32) (T, error)) func(string) (T, error) {
	return func(key string) (none T, err error) {
		id, err := parseID(kind, key)
		if err != nil {
			return none, err
		}
		return get(id)
	}
}

func editByID[T any](kind broker.Kind, edit func(context.Context, actor, uint32, string, func(*T) error) (T, error)) func(context.Context, actor, string, string, func(*T) error) (T, error) {
	return func(ctx context.Context, who actor, key, revision string, change func(*T) error) (none T, err error) {
		id, err := parseID(kind, key)
		if err != nil {
			return none, err
		}
		return edit(ctx, who, id, revision, change)
	}
}

func deleteByID(kind broker.Kind, del func(context.Context, actor, uint32, string) (Deleted, error)) func(context.Context, actor, string, string) (Deleted, error) {
	return func(ctx context.Context, who actor, key, revision string) (Deleted, error) {
		id, err := parseID(kind, key)
		if err != nil {
			return Deleted{}, err
		}
		return del(ctx, who, id, revision)
	}
}

func noQuery(r *http.Request) error {
	_, err := parseQuery(r)
	return err
}

// pathSegment escapes a name for a path of the API. Clients take "." and ".." for steps; escaped, most
// do not.
func pathSegment(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// reply answers with a value as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	body, err := marshal(v)
	if err != nil {
		return err
	}
	return replyJSON(w, status, body)
}

func replyJSON(w http.ResponseWriter, status int, body []byte) error {
	body = append(body, '\n')
	w.Header().Set("Content-Type", typeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // who loads much can see how far it is
	w.WriteHeader(status)
	_, _ = w.Write(body) // #nosec G705 -- JSON, which nosniff keeps it; who has left does not read it
	return nil
}

// etag is that of an object's answer. It changes with anything in it, since counters do so without
// a new revision; an edit compares the revision alone.
func etag(revision string, body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + revision + "." + hex.EncodeToString(sum[:6]) + `"`
}

// tagRevision returns the revision that a tag was made of. A revision itself will do.
func tagRevision(tag string) string {
	tag = strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
	revision, _, _ := strings.Cut(tag, ".")
	return revision
}

// ifMatch returns the revision that a change is meant for, "*" for any that exists, empty where it
// does not say.
func ifMatch(r *http.Request) (string, error) {
	tag := strings.TrimSpace(strings.Join(r.Header.Values("If-Match"), ","))
	if strings.Contains(tag, ",") {
		return "", malformed("If-Match %q: allowed is one ETag, or *", clip.Input(tag))
	}
	if tag == "" || tag == "*" {
		return tag, nil
	}
	revision := tagRevision(tag)
	if revision == "" || revision == "*" {
		return "", malformed("If-Match %q: allowed is one ETag, or *", clip.Input(tag))
	}
	return revision, nil
}

func ifNoneMatch(r *http.Request, tag string) bool {
	for t := range strings.SplitSeq(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
			return true
		}
	}
	return false
}
