package web

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"pipit/admin/gate"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/admin/web/payload"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// maxEditable is how large a payload may be, in bytes, that is edited in a form.
const maxEditable = 4 << 20

// composeForm is the form of a message to be published. m is one to begin with, or nil.
func composeForm(action string, m *object.Message) *form {
	usual := strconv.Itoa(limit.DefaultPriority)
	var priorities []option
	for n := limit.MaxPriority; n >= limit.MinPriority; n-- {
		o := option{Value: strconv.Itoa(n)}
		switch o.Label = o.Value; n {
		case limit.MaxPriority:
			o.Label += ", delivered first"
		case limit.MinPriority:
			o.Label += ", delivered last"
		}
		priorities = append(priorities, o)
	}
	f := newForm("publish", action, "Publish",
		field{Name: "payload", Label: "Payload", Type: "textarea"},
		field{Name: "mime_type", Label: "MIME type", Hint: "Handed on to consumers. Empty: that of the file, else text/plain", Options: []option{
			{Value: "application/json"}, {Value: "application/xml"}, {Value: "text/plain"}, {Value: "application/octet-stream"}}},
		field{Name: "encoding", Label: "The payload is", Type: "select", Group: options, Options: []option{{"", "text, as it is"}, {object.EncodingBase64, "base64, to be decoded"}}},
		field{Name: "file", Label: "Or a file", Type: "file", Group: options, Hint: "Instead of the text"},
		field{Name: "priority", Label: "Priority", Type: "select", Group: options, Value: usual, Usual: usual, Options: priorities},
		field{Name: "expiration", Label: "Expiration", Type: "number", Group: options, Min: "1", Hint: "Seconds. Empty: the topic's"},
		field{Name: "delay", Label: "Delay", Type: "number", Group: options, Min: "0", Hint: "Seconds before it can be delivered"},
		field{Name: "deliver_at", Label: "Deliver at", Group: options, Hint: "In place of a delay: a UTC time such as 2026-11-23T09:00:00, or Unix seconds"},
		field{Name: "msg_id", Label: "Message ID", Group: options, Hint: "One that the topic has seen within its deduplication window is not stored again. Empty: one is made"},
		field{Name: "correlation_id", Label: "Correlation ID", Group: options, Hint: "What consumers connect it with"},
		field{Name: "reply_to", Label: "Reply to", Group: options, Hint: "Where an answer to it is expected"},
		field{Name: "attributes", Label: "Attributes", Type: "textarea", Group: options, Rows: 3, Hint: "They travel with it: name=value, one a line"})
	f.Upload, f.Wide = true, true
	if m == nil {
		f.Another = "Publish, and another one"
		return f
	}
	text := string(m.Payload)
	if !payload.IsText(m.Payload) {
		text = base64.StdEncoding.EncodeToString(m.Payload)
		f.set("encoding", object.EncodingBase64)
	}
	f.set("payload", text)
	f.set("mime_type", m.MIMEType)
	f.set("priority", strconv.Itoa(m.Priority))
	f.set("correlation_id", m.CorrelationID)
	f.set("reply_to", m.ReplyTo)
	f.set("attributes", writeAttributes(m.Attributes))
	if m.Expiration > 0 {
		f.set("expiration", strconv.FormatInt(m.Expiration, 10))
	}
	return f
}

// readPublication reads the form of a message, which f becomes. of is the message that it began
// with, or nil.
func readPublication(r *http.Request, f *form, of *object.Message) (object.Publication, error) {
	var p object.Publication
	const memory = 8 << 20 // bytes; what is more of files goes to disk meanwhile
	err := r.ParseForm()   // whose error ParseMultipartForm hides
	if err == nil {
		if err = r.ParseMultipartForm(memory); errors.Is(err, http.ErrNotMultipart) { // #nosec G120 -- enter has bounded the body
			err = nil
		}
	}
	if r.MultipartForm != nil {
		defer r.MultipartForm.RemoveAll()
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return p, err
	case errors.Is(err, multipart.ErrMessageTooLarge):
		return p, &broker.Error{Code: broker.TooLarge, Message: "payload: it is too large for a field, publish it as a file", Field: "payload"}
	case err != nil:
		return p, broker.Invalidf("the form is not readable")
	}
	f.typed(url.Values(r.PostForm))
	if f.get("priority") == "" {
		f.set("priority", strconv.Itoa(limit.DefaultPriority))
	}
	n, err := f.number("priority", 0)
	if err != nil {
		return p, err
	}
	p.Priority = int(n)
	if p.Expiration, err = f.number("expiration", 0); err != nil {
		return p, err
	}
	if f.get("expiration") != "" {
		if err := limit.CheckExpiration(p.Expiration); err != nil {
			return p, &fieldError{"expiration", sentence(err.Error())}
		}
	}
	if err := limit.CheckPriority(n); err != nil {
		return p, &fieldError{"priority", sentence(err.Error())}
	}
	if p.Delay, err = f.number("delay", 0); err != nil {
		return p, err
	}
	p.DeliverAt = strings.TrimSpace(f.get("deliver_at"))
	p.CorrelationID, p.ReplyTo = f.get("correlation_id"), f.get("reply_to")
	if p.Attributes, err = readAttributes(f.get("attributes")); err != nil {
		return p, err
	}
	p.MIMEType, p.ID = strings.TrimSpace(f.get("mime_type")), strings.TrimSpace(f.get("msg_id"))

	file, header, err := r.FormFile("file")
	if err == nil && header.Filename != "" {
		defer file.Close()
		if p.Payload, err = io.ReadAll(file); err != nil {
			return p, err
		}
		if p.MIMEType == "" {
			p.MIMEType = header.Header.Get("Content-Type")
		}
		return p, nil
	}
	switch text := f.get("payload"); f.get("encoding") {
	case "":
		p.Payload = typedText(text, of)
	case object.EncodingBase64:
		if p.Payload, err = base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err != nil {
			return p, &fieldError{"payload", "This is not base64"}
		}
	default:
		return p, &fieldError{"encoding", "Allowed are text and base64"}
	}
	return p, nil
}

// writeAttributes writes attributes as a form has them: name=value, one a line.
func writeAttributes(table map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(table)) {
		b.WriteString(name + "=" + table[name] + "\n")
	}
	return b.String()
}

// readAttributes is the opposite of writeAttributes. Blanks around a name are nothing, those of a value belong to it.
func readAttributes(typed string) (map[string]string, error) {
	table := map[string]string{}
	for line := range strings.SplitSeq(lines(typed), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		if _, twice := table[name]; !ok || twice {
			return nil, &fieldError{"attributes", "The line " + strconv.Quote(clip.Input(line)) + ": allowed is name=value, each name once"}
		}
		table[name] = value
	}
	return table, nil
}

// typedText is the text of a form's field as it was meant. Browsers send every end of a line as CR
// and LF: it becomes an LF, but what was not changed stays as it was, byte by byte.
func typedText(s string, of *object.Message) []byte {
	s = lines(s)
	if of != nil && lines(string(of.Payload)) == s {
		return of.Payload
	}
	return []byte(s)
}

var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

func lines(s string) string { return lineEnds.Replace(s) }

func (mp messagePages) renderCompose(w http.ResponseWriter, r *http.Request, status int, topic string, f *form) error {
	return mp.renderForm(w, r, status, "topics", "Publish to "+topic, formPage{Back: link{topicPath(topic), topic}, Form: f})
}

func (mp messagePages) pageCompose(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	t, err := mp.Objects.Topics().Get(text.Unsegment(p["name"]))
	if err != nil {
		return err
	}
	f := composeForm(topicPath(t.Name)+"/publish", nil)
	f.field("payload").Focus = true
	return mp.renderCompose(w, r, 0, t.Name, f)
}

func (mp messagePages) postPublish(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	t, err := mp.Objects.Topics().Get(text.Unsegment(p["name"]))
	if err != nil {
		return err
	}
	f := composeForm(topicPath(t.Name)+"/publish", nil)
	pub, err := readPublication(r, f, nil)
	if err == nil {
		err = f.doubt(r, &pub)
	}
	id := ""
	if err == nil {
		id, err = mp.Objects.Publish(r.Context(), gate.ActorOf(r.Context()), t.Name, pub)
	}
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return mp.renderCompose(w, r, status, t.Name, f)
	}
	if r.PostFormValue("another") == checked {
		return mp.done(w, r, topicPath(t.Name)+"/publish", "Published: "+id)
	}
	return mp.done(w, r, publishedURL(t.Name, id), "")
}

// doubt returns an error of a payload that was typed and is hardly meant so, unless the form says that it is, for which it
// has a box from then on.
func (f *form) doubt(r *http.Request, p *object.Publication) error {
	if r.PostFormValue("as_is") == checked || r.MultipartForm != nil && len(r.MultipartForm.File["file"]) > 0 {
		return nil
	}
	kind, _, _ := mime.ParseMediaType(p.MIMEType)
	var err *fieldError
	switch {
	case len(p.Payload) == 0:
		err = &fieldError{"payload", "The payload is empty. Is it meant to be?"}
	case kind == "application/json" && !json.Valid(p.Payload):
		err = &fieldError{"payload", "This is no JSON, as the MIME type says. Is it meant so?"}
	default:
		return nil
	}
	f.Fields = append(f.Fields, field{ID: f.Name + "-as_is", Name: "as_is", Label: "Publish it as it is", Type: "checkbox"})
	return err
}

func recomposeForm(r *http.Request, m *object.Message) *form {
	f := composeForm(messagePath(m.Topic, m.ID)+"/publish"+fromList(r), m)
	f.Fields = append(f.Fields, field{ID: "publish-delete_old", Name: "delete_old", Label: "Delete the old message", Type: "checkbox",
		Hint: "For all consumers, once the new one is stored"})
	return f
}

func (mp messagePages) renderRecompose(w http.ResponseWriter, r *http.Request, status int, m *object.Message, f *form) error {
	return mp.renderForm(w, r, status, "messages", "Edit and publish again", formPage{
		Back: link{messagePath(m.Topic, m.ID) + fromList(r), m.ID},
		Lead: "This publishes a new message to " + m.Topic + ".",
		Form: f,
	})
}

func (mp messagePages) pageRecompose(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	m, _, err := mp.message(p)
	if err != nil {
		return err
	}
	if len(m.Payload) > maxEditable {
		return broker.Invalidf("The payload is too large to be edited here: download it, and publish it as a file")
	}
	return mp.renderRecompose(w, r, 0, &m, recomposeForm(r, &m))
}

// postRepublish publishes a copy of a message, or what became of it in the form. The message may
// have gone since the form was opened.
func (mp messagePages) postRepublish(w http.ResponseWriter, r *http.Request, p gate.Params) error {
	who := gate.ActorOf(r.Context())
	m, _, err := mp.message(p)
	gone := broker.CodeOf(err) == broker.NotFound
	if err != nil && !gone {
		return err
	}
	missing := err
	if gone {
		m = object.Message{Topic: text.Unsegment(p["topic"]), ID: text.Unsegment(p["id"])}
	}
	f := recomposeForm(r, &m)
	var of *object.Message
	if !gone {
		of = &m
	}
	pub, err := readPublication(r, f, of)
	if r.PostFormValue("copy") != "" {
		if gone {
			return missing
		}
		id, err := mp.Objects.Publish(r.Context(), who, m.Topic, object.Publication{Payload: m.Payload, MIMEType: m.MIMEType, Priority: m.Priority, Expiration: m.Expiration,
			CorrelationID: m.CorrelationID, ReplyTo: m.ReplyTo, Attributes: m.Attributes})
		if err != nil {
			return err
		}
		return mp.published(w, r, m.Topic, id, "")
	}
	if err == nil {
		err = f.doubt(r, &pub)
	}
	if err == nil && f.on("delete_old") && pub.ID != "" {
		err = &fieldError{"msg_id", "With an ID of your own, the old message has to be deleted by hand: had the topic seen the ID, nothing would be stored"}
	}
	id := ""
	if err == nil {
		id, err = mp.Objects.Publish(r.Context(), who, m.Topic, pub)
	}
	if err != nil {
		status, err := f.fail(err)
		if err != nil {
			return err
		}
		return mp.renderRecompose(w, r, status, &m, f)
	}
	notice := ""
	if f.on("delete_old") {
		switch n, err := mp.Objects.DeleteMessages(r.Context(), who, m.Topic, []string{m.ID}); {
		case err != nil:
			notice += ". The old one could not be deleted: " + failureOf(err).Message
		case n == 0:
			notice += ". The old one was gone already"
		default:
			notice += ". The old one was deleted"
		}
	}
	return mp.published(w, r, m.Topic, id, notice)
}

// published answers where a message was published, which may be gone as soon: delivered and acknowledged.
func (mp messagePages) published(w http.ResponseWriter, r *http.Request, topic, id, notice string) error {
	if _, _, err := mp.Broker.Message(topic, id); err != nil {
		return mp.done(w, r, publishedURL(topic, id), strings.TrimPrefix(notice, ". "))
	}
	return mp.done(w, r, messagePath(topic, id)+fromList(r), "This is the new message, published a moment ago"+notice)
}
