package web

import (
	"net/http"
	"net/url"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker/property"
)

// shownKeys are the secrets of a consumer that a page shows for as long as they are on the shelf, and are the same.
type shownKeys struct {
	id                     uint32
	subKey, callbackSecret string
}

func keysOf(c *object.Consumer) shownKeys { return shownKeys{c.ID, c.SubKey, c.CallbackSecret} }

// showKeys goes on to the page of a consumer, with its secrets in it.
func (cp consumerPages) showKeys(w http.ResponseWriter, r *http.Request, c *object.Consumer, notice, at string) error {
	once := cp.once.put(access.CallerOf(r.Context()).SessionID(), keysOf(c))
	return cp.done(w, r, consumerPath(c.ID)+"?"+url.Values{"keys": {once}}.Encode()+at, notice)
}

// answerMade goes on to the page of a consumer that was made, with its secrets.
func (cp consumerPages) answerMade(w http.ResponseWriter, r *http.Request, f *form, _, c *object.Consumer) (answered bool, err error) {
	if f.Revision != "" { // it was edited
		return false, nil
	}
	return true, cp.showKeys(w, r, c, "The consumer was created. Its sub_key is below"+warned(c.Warnings), "")
}

// postReveal shows the secrets of a consumer. It is no GET, so that no link, no look ahead of a browser and no reload shows
// them, and so each time is in the audit log.
func (cp consumerPages) postReveal(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	c, err := cp.Objects.Consumers().LookUp(p["id"])
	if err != nil {
		return err
	}
	cp.Objects.NoteReveal(r.Context(), &c)
	return cp.showKeys(w, r, &c, "", "#definition")
}

// overlaps are how long the old sub_key stays valid, as a form proposes it: first what breaks nothing.
var overlaps = []option{
	{"24h", "for 24 hours, so that receivers can take the new one"},
	{"1h", "for 1 hour"},
	{"0s", "not at all, since it has leaked: it is refused at once"},
}

func rotateForm(path, revision string) *form {
	f := newForm("rotate", path+"/rotate", "Make a new sub_key",
		field{Name: "overlap", Label: "The old one stays valid", Type: "select", Options: overlaps, Value: overlaps[0].Value})
	f.Revision, f.Danger = revision, true
	return f
}

func endOverlapForm(path, revision string) *form {
	f := oneButton("end-overlap", path+"/end-overlap", "Revoke it now", revision)
	f.Danger = true
	return f
}

func (cp consumerPages) postRotate(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	return cp.onConsumerTo(w, r, p, func(p *consumerPage) *form { return p.Rotate }, func(c *object.Consumer, f *form) (notice string, err error) {
		overlap, ok := property.ParseDuration(f.get("overlap"))
		if !ok {
			return "", &fieldError{"overlap", "Allowed are durations such as 24h, 1h, 0s"}
		}
		if *c, err = cp.Objects.RotateSubKey(r.Context(), gate.ActorOf(r.Context()), c, f.Revision, overlap); overlap == 0 {
			return "The consumer has a new sub_key. The old one is refused from now on", err
		}
		return "The consumer has a new sub_key. The old one is valid for " + property.FormatDuration(overlap) + " yet", err
	}, func(c *object.Consumer, notice string) error { return cp.showKeys(w, r, c, notice, "") })
}

func (cp consumerPages) postEndOverlap(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	return cp.onConsumer(w, r, p, func(p *consumerPage) *form {
		if p.EndOverlap == nil { // its time is over, which the error says
			p.EndOverlap = endOverlapForm(p.Path, p.Revision)
		}
		return p.EndOverlap
	}, func(c *object.Consumer, f *form) (string, error) {
		_, err := cp.Objects.EndOverlap(r.Context(), gate.ActorOf(r.Context()), c, f.Revision)
		return "The old sub_key is refused from now on", err
	})
}
