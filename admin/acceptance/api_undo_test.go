package acceptance

import (
	"reflect"
	"testing"
	"time"

	"pipit/admin/api"
	"pipit/broker/change"
)

// TestAPIUndo deletes by the API and takes it back: as it was defined, once, and nothing of it where something is in the way.
func TestAPIUndo(t *testing.T) {
	r := newAPIRig(t)
	c := r.example()
	before := r.b.Definition()
	remove := func(path string) (gone api.Gone) {
		t.Helper()
		r.ok(200, "DELETE", path, nil).into(t, &gone)
		if until := time.Until(gone.UndoUntil.Time); gone.Undo == "" || until <= 0 || until > 10*time.Minute {
			t.Fatalf("%s: %+v", path, gone)
		}
		return gone
	}
	gone := remove("/topics/%2Fcustomer%2Fcreated")
	if gone.Producers != 1 || gone.Consumers != 1 {
		t.Errorf("%+v", gone)
	}
	var list api.Deletions
	r.ok(200, "GET", "/undo", nil).into(t, &list)
	if len(list.Items) != 1 || list.Items[0].ID != gone.Undo || list.Items[0].Kind != change.Topic || list.Items[0].Name != c.Topic || list.Items[0].Until != gone.UndoUntil {
		t.Errorf("%+v", list)
	}
	var back api.Restored
	r.ok(200, "POST", "/undo/"+gone.Undo, nil).into(t, &back)
	if back != (api.Restored{Kind: change.Topic, Name: c.Topic}) || !reflect.DeepEqual(r.b.Definition(), before) {
		t.Errorf("%+v is back as\n%+v\nand was\n%+v", back, r.b.Definition(), before)
	}
	r.refused(404, "not_found", "POST", "/undo/"+gone.Undo, nil)
	r.refused(404, "not_found", "POST", "/undo/none", nil)
	if got := actions(t, r); len(got) < 2 || got[0] != "topic.restore" || got[1] != "topic.delete" {
		t.Errorf("audit log: %q", got)
	}

	gone = remove("/clients/erp")
	r.ok(201, "POST", "/clients", jsonObject{"username": "erp", "password": "another long password"})
	r.refused(409, "exists", "POST", "/undo/"+gone.Undo, nil)
	if n := len(r.b.Consumers()); n != 0 {
		t.Errorf("%d consumers are back of what is not", n)
	}
	r.ok(200, "GET", "/undo", nil).into(t, &list)
	if len(list.Items) != 1 { // until what is in the way is gone
		t.Errorf("%+v", list)
	}
}
