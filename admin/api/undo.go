package api

import (
	"net/http"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker/change"
)

// Gone is the answer to a deletion: what went with the object, and how it is taken back.
type Gone struct {
	object.Deleted
	Undo      string    `json:"undo,omitempty"`      // id of the deletion, to take it back; absent where it cannot be
	UndoUntil gate.Time `json:"undo_until,omitzero"` // until when
}

// Deletion is one that can be taken back.
type Deletion struct {
	ID    string      `json:"id"`    // id of the deletion
	Kind  change.Kind `json:"kind"`  // kind of what was deleted
	Name  string      `json:"name"`  // name of what was deleted, as the audit log has it
	By    string      `json:"by"`    // who has deleted it
	At    gate.Time   `json:"at"`    // when
	Until gate.Time   `json:"until"` // until when it can be taken back
}

// Deletions are those that can be taken back, the latest first.
type Deletions struct {
	Items []Deletion `json:"items"`
}

// Restored is what is back.
type Restored struct {
	Kind change.Kind `json:"kind"`         // kind of what is back
	Name string      `json:"name"`         // name of it, as the audit log has it
	ID   uint32      `json:"id,omitempty"` // id that a producer or consumer has now
}

func undoRoutes(of *object.Objects) []gate.Route {
	o := undo{of}
	return []gate.Route{
		gate.Get(gate.V1+"/undo", o.list, gate.Write),
		gate.Post(gate.V1+"/undo/:id", o.takeBack, gate.Write),
	}
}

// undo is what is done about deletions.
type undo struct{ *object.Objects }

func (o undo) list(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	limit, err := limitAlone(r)
	if err != nil {
		return err
	}
	list, all := Deletions{Items: []Deletion{}}, o.Undos()
	for _, x := range all[:min(len(all), int(limit))] {
		list.Items = append(list.Items, Deletion{x.Key, x.Kind, x.Name, x.By, gate.TimeOf(x.At), gate.TimeOf(x.Until())})
	}
	return reply(w, http.StatusOK, list)
}

func (o undo) takeBack(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if err := noQuery(r); err != nil {
		return err
	}
	x, done, err := o.TakeBack(r.Context(), gate.ActorOf(r.Context()), p["id"])
	if err != nil {
		return gate.Created(err)
	}
	back := Restored{Kind: x.Kind, Name: x.Name}
	switch {
	case x.Kind == change.Consumer && len(done.Consumers) == 1:
		back.ID = done.Consumers[0].ID
	case x.Kind == change.Producer && len(done.Producers) == 1:
		back.ID = done.Producers[0].ID
	}
	return reply(w, http.StatusOK, back)
}
