package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/access"
	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/broker"
	"pipit/broker/change"
	"pipit/broker/clip"
)

// definitionPages are the page of all definitions as a document: an upload becomes a plan, which is looked at and applied. A
// download is the API's.
type definitionPages struct{ *Site }

const (
	definitionsPath = "/admin/system/definitions"

	maxDefinitions = 16 << 20 // bytes of a document; larger ones are for the command line
	maxPlans       = 2        // documents that wait to be applied, of all sessions together
	maxPlanRows    = 300
	maxFaults      = 20 // for each of them the document is read once more

	importTime = time.Hour // how long a browser waits for an import
)

func (dp definitionPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get(definitionsPath, dp.pageDefinitions, gate.Write),
		gate.Post(definitionsPath+"/import", dp.postImport, gate.Write),
		gate.Post(definitionsPath+"/apply", dp.postApply, gate.Write),
		gate.Post("/admin/undo", dp.postUndo, gate.Write),
	}
}

type definitionsPage struct {
	Upload *form
	Apply  *form // nil where there is nothing to be applied
	File   string
	Plan   *object.Import      // of the document, or what was made of it
	Rows   []object.PlanAction // what changes first
	Faults []documentFault     // of a document that is refused, the first ones
	More   int                 // how many more there are
	Undos  []object.Undo
}

// document is one that was uploaded and waits to be applied.
type document struct {
	file string
	body []byte
}

// documentFault is what is wrong with a document, and where.
type documentFault struct {
	Line   int    // 0: it is not told
	At     string // JSON pointer of the field
	Detail string
}

func uploadForm() *form {
	f := newForm("import", definitionsPath+"/import", "Show what it would do",
		field{Name: "file", Label: "A file that was exported", Type: "file", Required: true, Hint: "JSON, at most 16 MiB. Nothing is changed before you have seen the plan"})
	f.Upload = true
	return f
}

func (dp definitionPages) render(w http.ResponseWriter, r *http.Request, status int, p definitionsPage) error {
	if p.Upload == nil {
		p.Upload = uploadForm()
	}
	p.Undos = dp.Objects.Undos()
	if p.Plan != nil {
		p.Rows = slices.Clone(p.Plan.Plan)
		rank := map[change.Action]int{change.Create: 0, change.Update: 1, change.Keep: 2}
		slices.SortStableFunc(p.Rows, func(x, y object.PlanAction) int { return cmp.Compare(rank[x.Action], rank[y.Action]) })
		p.Rows = p.Rows[:min(len(p.Rows), maxPlanRows)]
	}
	return dp.Site.render(w, r, "definitions", status, view{Title: "Definitions", Nav: "system", Data: p})
}

func (dp definitionPages) pageDefinitions(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	session, q := access.CallerOf(r.Context()).SessionID(), r.URL.Query()
	if done, ok := shelvedOf[*object.Import](&dp.once, session, q.Get("done")); ok {
		return dp.render(w, r, http.StatusOK, definitionsPage{Plan: done})
	}
	if doc, ok := shelvedOf[document](&dp.plans, session, q.Get("plan")); ok {
		return dp.plan(w, r, q.Get("plan"), doc)
	}
	return dp.render(w, r, http.StatusOK, definitionsPage{})
}

// plan shows what a document would do now.
func (dp definitionPages) plan(w http.ResponseWriter, r *http.Request, key string, doc document) error {
	p := definitionsPage{File: doc.file}
	plan, err := dp.run(r, doc.body, true)
	if err != nil {
		return dp.refused(w, r, p, doc.body, err)
	}
	p.Plan = &plan
	if plan.Created+plan.Updated > 0 {
		p.Apply = newForm("apply", definitionsPath+"/apply", "Apply", field{Name: "plan", Type: "hidden", Value: key})
	}
	return dp.render(w, r, http.StatusOK, p)
}

// run imports a document, or tells what would become of it.
func (dp definitionPages) run(r *http.Request, body []byte, dryRun bool) (none object.Import, err error) {
	end, err := dp.Objects.BeginImport()
	if err != nil {
		return none, err
	}
	defer end()
	d, err := object.ReadDefinitions(bytes.NewReader(body))
	if err != nil {
		return none, err
	}
	return dp.Objects.Import(r.Context(), gate.ActorOf(r.Context()), d, dryRun)
}

// refused shows what is wrong with a document, or with the form.
func (dp definitionPages) refused(w http.ResponseWriter, r *http.Request, p definitionsPage, body []byte, err error) error {
	p.Upload = uploadForm()
	var fields gate.FieldErrors
	if errors.As(err, &fields) {
		p.More = max(0, len(fields)-maxFaults)
		for _, f := range fields[:len(fields)-p.More] {
			p.Faults = append(p.Faults, documentFault{lineOf(body, f.Pointer), f.Pointer, sentence(f.Detail)})
		}
		return dp.render(w, r, http.StatusUnprocessableEntity, p)
	}
	if problem, _ := gate.ProblemOf(err); problem.Status == http.StatusBadRequest {
		p.Upload.blame("file", sentence(problem.Detail))
		return dp.render(w, r, http.StatusUnprocessableEntity, p)
	}
	status, err := p.Upload.fail(err)
	if err != nil {
		return err
	}
	return dp.render(w, r, status, p)
}

// postImport keeps a document for the page of its plan.
func (dp definitionPages) postImport(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	name, body, err := readDocument(r)
	if err != nil {
		return dp.refused(w, r, definitionsPage{File: name}, nil, err)
	}
	if _, err = dp.run(r, body, true); err != nil { // then there is no plan to go on to
		return dp.refused(w, r, definitionsPage{File: name}, body, err)
	}
	key := dp.plans.put(access.CallerOf(r.Context()).SessionID(), document{name, body})
	return dp.done(w, r, definitionsPath+"?"+url.Values{"plan": {key}}.Encode(), "")
}

// readDocument reads the file of a form.
func readDocument(r *http.Request) (name string, body []byte, err error) {
	const memory = 1 << 20                               // bytes; what is more goes to disk meanwhile
	if err := r.ParseMultipartForm(memory); err != nil { // #nosec G120 -- enter has bounded the body
		return "", nil, cmp.Or[error](bodyTooLarge(err), broker.Invalidf("the form is not readable"))
	}
	defer r.MultipartForm.RemoveAll()
	file, header, err := r.FormFile("file")
	if err != nil || header.Filename == "" {
		return "", nil, &fieldError{"file", "Choose a file"}
	}
	defer file.Close()
	if header.Size > maxDefinitions {
		return header.Filename, nil, &fieldError{"file", "The file is too large for this page: pipit import takes it"}
	}
	body, err = io.ReadAll(file)
	return header.Filename, body, err
}

// bodyTooLarge is an error of a body that is larger than its route allows, nil where it is another one.
func bodyTooLarge(err error) error {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return err
	}
	return nil
}

// postApply imports a document whose plan was shown.
func (dp definitionPages) postApply(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	session := access.CallerOf(r.Context()).SessionID()
	doc, ok := shelvedOf[document](&dp.plans, session, v.Get("plan"))
	if !ok {
		return dp.refused(w, r, definitionsPage{}, nil, &fieldError{"file", "The plan is kept for ten minutes, and was let go of: choose the file again"})
	}
	gate.Patient(w, importTime)
	done, err := dp.run(r, doc.body, false)
	if err != nil {
		return dp.refused(w, r, definitionsPage{File: doc.file}, doc.body, err)
	}
	dp.plans.drop(v.Get("plan"))
	return dp.done(w, r, definitionsPath+"?"+url.Values{"done": {dp.once.put(session, &done)}}.Encode(),
		strconv.Itoa(done.Created)+" objects were created, "+strconv.Itoa(done.Updated)+" updated")
}

// postUndo takes back a deletion.
func (dp definitionPages) postUndo(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	v, err := readForm(w, r)
	if err != nil {
		return err
	}
	x, done, err := dp.Objects.TakeBack(r.Context(), gate.ActorOf(r.Context()), v.Get("undo"))
	if err != nil {
		return err
	}
	to := "/admin/" + string(x.Kind) + "s"
	switch {
	case x.Kind == change.Topic:
		to = topicPath(x.Name)
	case x.Kind == change.Client:
		to = clientPath(x.Name)
	case x.Kind == change.Consumer && len(done.Consumers) == 1:
		to = consumerPath(done.Consumers[0].ID)
	}
	return dp.done(w, r, to, "The "+string(x.Kind)+" "+clip.Input(x.Name)+" is back as it was defined, without the messages that it had")
}

// lineOf returns the line of a document where the value of a JSON pointer is, or of what is around it where that is not there; 0
// where it is not told.
func lineOf(body []byte, pointer string) int {
	if pointer == "" || body == nil {
		return 0
	}
	d := json.NewDecoder(bytes.NewReader(body))
	at := int64(0)
	for _, step := range strings.Split(pointer[1:], "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		if !enter(d, step) {
			break
		}
		at = d.InputOffset()
	}
	if at == 0 {
		return 0
	}
	for at < int64(len(body)) && strings.IndexByte(" \t\r\n,:", body[at]) >= 0 { // what is between it and what came before
		at++
	}
	return 1 + bytes.Count(body[:at], []byte("\n"))
}

// enter reads on until the value of a step of a pointer is next. It is false where there is none.
func enter(d *json.Decoder, step string) bool {
	open, err := d.Token()
	if err != nil || open != json.Delim('{') && open != json.Delim('[') {
		return false
	}
	for i := 0; d.More(); i++ {
		name := strconv.Itoa(i)
		if open == json.Delim('{') {
			t, err := d.Token()
			if err != nil {
				return false
			}
			name, _ = t.(string)
		}
		if name == step {
			return true
		}
		var skipped json.RawMessage
		if d.Decode(&skipped) != nil {
			return false
		}
	}
	return false
}
