package api

import (
	"context"
	"net/http"

	"pipit/admin/gate"
	"pipit/admin/object"
)

// resource is a noun in the API.
type resource[T any] struct{ *object.Noun[T] }

func resourceOf[T any](n *object.Noun[T]) resource[T] { return resource[T]{n} }

// routes are those that each noun has in the API.
func (n resource[T]) routes() []gate.Route {
	list := gate.V1 + n.Path
	one := list + "/:" + n.Param
	return []gate.Route{
		gate.Get(list, n.list, gate.Read),
		gate.Post(list, n.create, gate.Write),
		gate.Get(one, n.get, gate.Read),
		gate.Patch(one, n.edit, gate.Write),
		gate.Delete(one, n.delete, gate.Write),
		gate.Get(one+"/deletion", n.deletion, gate.Read),
	}
}

func (n resource[T]) show(v *T, who gate.Actor) {
	if who.Access < gate.Write && n.Mask != nil {
		n.Mask(v)
	}
}

// revealed is to be called with what show has let be shown.
func (n resource[T]) revealed(ctx context.Context, v *T) {
	if n.Reveal != nil && gate.ActorOf(ctx).Access >= gate.Write {
		n.Reveal(ctx, v)
	}
}

func (n resource[T]) list(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := parseQuery(r, append([]string{"search", "part", "sort", "desc", "limit", "cursor"}, n.Filters...)...)
	if err != nil {
		return err
	}
	q := gate.Query{Search: v["search"], Sort: v["sort"], Cursor: v["cursor"], Topic: v["topic"], Client: v["client"], Template: v["template"]}
	if sort, given := v["sort"]; given && sort == "" {
		return badParameter("sort", "sort %q: allowed is what the list can be sorted by, or no such parameter", sort)
	}
	if q.Part, err = v.oneOf("part", n.Parts...); err != nil {
		return err
	}
	if q.Desc, err = v.flag("desc"); err != nil {
		return err
	}
	limit, err := v.limit()
	if err != nil {
		return err
	}
	q.Limit = int(limit)
	page, err := n.List(q)
	if err != nil {
		return ofParameters(err)
	}
	for i := range page.Items {
		n.show(&page.Items[i], gate.ActorOf(r.Context()))
	}
	if len(page.Items) > 0 {
		n.revealed(r.Context(), nil)
	}
	return reply(w, http.StatusOK, page)
}

func (n resource[T]) create(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	in, err := readNode(r, TypeJSON)
	if err != nil {
		return err
	}
	v, byDefault := n.Initial(), n.Initial()
	if err := in.Object(&v, &byDefault); err != nil {
		return err
	}
	if v, err = n.Create(r.Context(), gate.ActorOf(r.Context()), v); err != nil {
		return gate.Created(err)
	}
	w.Header().Set("Location", gate.V1+n.Path+"/"+pathSegment(n.Key(&v)))
	return n.reply(w, r, http.StatusCreated, v)
}

func (n resource[T]) get(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	v, err := n.Get(p[n.Param])
	if err != nil {
		return err
	}
	n.revealed(r.Context(), &v)
	return n.reply(w, r, http.StatusOK, v)
}

func (n resource[T]) edit(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	patch, err := readNode(r, TypePatch, TypeJSON)
	if err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	if given, ok := patch.Member("revision"); ok && revision == "" && given.Value != nil {
		// An answer that is sent back, changed, is meant for what was answered.
		s, ok := given.Value.(string)
		if !ok {
			return gate.FieldErrors{given.Fail("a text")}
		}
		revision = s
	}
	edited, err := n.Edit(r.Context(), gate.ActorOf(r.Context()), p[n.Param], revision, func(v *T) error {
		byDefault := n.Initial()
		return patch.Object(v, &byDefault)
	})
	if err != nil {
		return err
	}
	v, err := n.Get(p[n.Param])
	if err != nil {
		return err
	}
	if n.Warnings != nil {
		*n.Warnings(&v) = *n.Warnings(&edited)
	}
	n.revealed(r.Context(), &v)
	return n.reply(w, r, http.StatusOK, v)
}

func (n resource[T]) delete(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	revision, err := ifMatch(r)
	if err != nil {
		return err
	}
	with, undo, err := n.Delete(r.Context(), gate.ActorOf(r.Context()), p[n.Param], revision)
	if err != nil {
		return err
	}
	gone := Gone{Deleted: with}
	if undo != nil {
		gone.Undo, gone.UndoUntil = undo.Key, gate.TimeOf(undo.Until())
	}
	return reply(w, http.StatusOK, gone)
}

func (n resource[T]) deletion(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	v, err := n.LookUp(p[n.Param])
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, n.Goes(&v))
}

// reply answers with an object as who asks may see it, or says that it is the one that the caller has.
func (n resource[T]) reply(w http.ResponseWriter, r *http.Request, status int, v T) error {
	revision := n.Revision(&v)
	n.show(&v, gate.ActorOf(r.Context()))
	body, err := gate.Marshal(&v)
	if err != nil {
		return err
	}
	tag := etag(revision, body)
	w.Header().Set("ETag", tag)
	if gate.IsRead(r) && ifNoneMatch(r, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return replyJSON(w, status, body)
}
