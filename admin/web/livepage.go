package web

import (
	"bytes"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/admin/text"
	"pipit/broker"
	"pipit/broker/clip"
)

// A page that is live says in the URL of its stream what it shows: topic, consumer or client is the key of its object, list the
// noun of its list, and rows the names of the rows of its tables. A frame has the HTML of those parts, of the page's own
// templates. Rows come and go with the page alone, so nothing that is read moves.

// maxLiveRows is how many rows a stream is asked for: more than a page has.
const maxLiveRows = 100

// partFrame is an event of the stream of such a page.
type partFrame struct {
	Time   gate.Time         `json:"time"`
	Number int               `json:"number"` // how much needs attention
	Parts  map[string]string `json:"parts"`  // HTML by the name of the part
	Hour   *monitor.Step     `json:"hour,omitempty"`
	Day    *monitor.Step     `json:"day,omitempty"`
}

// livePage is what the stream of a page is made of.
type livePage struct {
	s        *Site
	template string                                       // of the page
	figures  func(*partFrame) (parts []livePart, ok bool) // those of its object; not ok: it is gone
	row      string                                       // template of a row
	data     func(item any) any                           // of that template
	rows     []liveRow
}

// livePart is a part of a page, by the template that makes it.
type livePart struct {
	name, template string
	data           any
}

// liveRow is a row of a table.
type liveRow struct {
	name string // in the page: its kind as a letter, and its ID or what rowKey makes of its name
	key  string // of the object
}

// rowKey makes a name short, whatever it is.
func rowKey(name string) string {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name) // it never fails
	return strconv.FormatUint(h.Sum64(), 36)
}

// Letters of the kinds of rows.
const (
	rowTopic    = "t"
	rowConsumer = "c"
	rowProducer = "p"
	rowClient   = "u"
	rowQueue    = "q" // a topic of a consumer of a pattern
)

// liveURL is the stream of a page about what has a key, or a list. rows are names of rows.
func liveURL(of, key string, rows ...[]string) string {
	v := url.Values{of: {key}}
	var all []string
	for _, list := range rows {
		all = append(all, list...)
	}
	if len(all) > 0 {
		v.Set("rows", strings.Join(all, "."))
	}
	return "/admin/live?" + v.Encode()
}

// partNames are the names of rows.
func partNames[T any](list []T) []string {
	var names []string
	for i := range list {
		if name := partName(list[i]); name != "" {
			names = append(names, name)
		}
	}
	return names
}

func topicRow(t *object.Topic) string { return rowTopic + rowKey(t.Name) }

func clientRow(c *object.Client) string { return rowClient + rowKey(c.Username) }

func consumerRow(c *object.Consumer) string {
	return rowConsumer + strconv.FormatUint(uint64(c.ID), 10)
}

func producerRow(p *object.Producer) string {
	return rowProducer + strconv.FormatUint(uint64(p.ID), 10)
}

// beside is a row of a producer or consumer on the page of its topic or client.
type beside struct {
	By   string // "topic" or "client"
	Item any
}

// IsProducer tells the two apart.
func (b beside) IsProducer() bool {
	_, ok := b.Item.(object.Producer)
	return ok
}

// Name is that of the other one of the pair.
func (b beside) Name() string {
	var topic, client string
	switch v := b.Item.(type) {
	case object.Producer:
		topic, client = v.Topic, v.Client
	case object.Consumer:
		topic, client = v.Topic, v.Client
	}
	if b.By == "topic" {
		return client
	}
	return topic
}

// pagePart streams the parts of a page.
func (op overviewPages) pagePart(w http.ResponseWriter, r *http.Request) error {
	p, err := op.livePage(r.URL.Query())
	if err != nil {
		return err
	}
	return op.follow(w, r, func() any {
		if f := p.frame(time.Now()); f != nil {
			return f
		}
		return nil
	})
}

// livePage reads what a page shows. The errors are Invalid and NotFound.
func (s *Site) livePage(q url.Values) (p *livePage, err error) {
	p = &livePage{s: s, data: func(item any) any { return item }}
	switch {
	case q.Has("topic"):
		p.template, p.row, p.data = "topic", "beside-row", func(item any) any { return beside{"topic", item} }
		p.figures = s.liveTopic(q.Get("topic"))
	case q.Has("consumer"):
		p.template = "consumer"
		p.figures = s.liveConsumer(q.Get("consumer"))
	case q.Has("client"):
		p.template, p.row, p.data = "client", "beside-row", func(item any) any { return beside{"client", item} }
		p.figures = s.liveClient(q.Get("client"))
	case q.Has("cluster"):
		p.template = "cluster"
		p.figures = s.liveCluster
	default:
		switch list := q.Get("list"); list {
		case "topics", "clients", "producers", "consumers":
			p.template, p.row = list, "row"
		default:
			return nil, broker.Invalidf("list %q: allowed are topics, clients, producers and consumers", clip.To(list, 64))
		}
		p.figures = func(*partFrame) ([]livePart, bool) { return nil, true }
	}
	if _, ok := p.figures(&partFrame{}); !ok {
		return nil, &broker.Error{Code: broker.NotFound, Message: "What the page shows does not exist"}
	}
	p.rows, err = s.liveRows(q.Get("rows"))
	return p, err
}

// liveRows reads the names of rows. Those that there are not are left out.
func (s *Site) liveRows(list string) (rows []liveRow, err error) {
	if list == "" {
		return nil, nil
	}
	names := strings.Split(list, ".")
	if len(names) > maxLiveRows {
		return nil, broker.Invalidf("rows has %d names: at most %d are allowed", len(names), maxLiveRows)
	}
	wanted := map[string]bool{}
	for _, name := range names {
		switch {
		case strings.HasPrefix(name, rowConsumer), strings.HasPrefix(name, rowProducer):
			rows = append(rows, liveRow{name, name[1:]})
		case name != "":
			wanted[name] = true
		}
	}
	add := func(letter, key string) {
		if name := letter + rowKey(key); wanted[name] {
			rows = append(rows, liveRow{name, key})
		}
	}
	if strings.Contains("."+list, "."+rowTopic) {
		for _, t := range append(s.Broker.Topics(), s.Broker.Templates()...) {
			add(rowTopic, t.Name)
		}
	}
	if strings.Contains("."+list, "."+rowClient) {
		for _, c := range s.Broker.Clients() {
			add(rowClient, c.Username)
		}
	}
	return rows, nil
}

// items returns the rows' objects, by the names of the rows.
func (p *livePage) items() map[string]any {
	items := map[string]any{}
	var clients []string
	for _, row := range p.rows {
		switch row.name[:1] {
		case rowTopic:
			if v, err := p.s.Objects.Topics().LookUp(row.key); err == nil {
				items[row.name] = v
			}
		case rowProducer:
			if v, err := p.s.Objects.Producers().LookUp(row.key); err == nil {
				items[row.name] = v
			}
		case rowConsumer:
			if v, err := p.s.Objects.Consumers().Get(row.key); err == nil {
				items[row.name] = v
			}
		case rowClient:
			clients = append(clients, row.key)
		}
	}
	for _, c := range p.s.Objects.ClientsOf(clients) {
		items[clientRow(&c)] = c
	}
	return items
}

// frame is what the page shows now; nil: it shows something that is gone.
func (p *livePage) frame(now time.Time) *partFrame {
	f := &partFrame{Time: gate.TimeOf(now), Number: p.s.Monitor.Situation(attentionAge).Number, Parts: map[string]string{}}
	parts, ok := p.figures(f)
	if !ok {
		return nil
	}
	for _, part := range parts {
		f.Parts[part.name] = p.html(part.template, part.data)
	}
	for name, item := range p.items() {
		f.Parts[name] = p.html(p.row, p.data(item))
	}
	return f
}

// html is a template of the page, as the page shows it.
func (p *livePage) html(name string, data any) string {
	var buf bytes.Buffer
	if err := templates()[p.template].ExecuteTemplate(&buf, name, data); err != nil {
		return "" // a fault of ours: the page itself tells of it
	}
	return text.ShowHidden(prefixed(buf.String(), p.s.Reach.PathPrefix))
}

func (s *Site) liveTopic(name string) func(*partFrame) ([]livePart, bool) {
	return func(f *partFrame) ([]livePart, bool) {
		t, err := s.Objects.Topics().LookUp(name)
		if err != nil || t.AutoCreate {
			return nil, false
		}
		f.Hour, f.Day = s.Monitor.Steps(monitor.Of{Topic: name})
		return []livePart{{"stats", "stats", topicStats{t}}, s.liveRefusals(monitor.RefusalFilter{Topic: name})}, true
	}
}

func (s *Site) liveConsumer(key string) func(*partFrame) ([]livePart, bool) {
	return func(f *partFrame) ([]livePart, bool) {
		c, err := s.Objects.Consumers().Get(key)
		if err != nil {
			return nil, false
		}
		f.Hour, f.Day = s.Monitor.Steps(monitor.Of{Consumer: c.ID})
		checks, _ := s.Monitor.Why(c.ID)
		parts := []livePart{{"stats", "stats", consumerStatsOf(&c)}, {"checks", "check-list", checks}, s.liveRefusals(monitor.RefusalFilter{Consumer: c.ID})}
		if c.Callback != nil {
			parts = append(parts, livePart{"callback-state", "callback-state", c.Callback}, livePart{"callback-failing", "callback-failing", c.Callback})
			if attempts, err := (consumerPages{s}).attempts(&c); err == nil { // else those that are there stay
				parts = append(parts, livePart{"attempts", "attempt-rows", attempts})
			}
		}
		if s.isPattern(c.Topic) {
			queues, _, _ := s.Broker.Queues(c.ID, pageSize) // of what is gone there are none
			for _, q := range queues {
				parts = append(parts, livePart{rowQueue + rowKey(q.Topic), "queue-row", q})
			}
		}
		return parts, true
	}
}

func (s *Site) liveClient(username string) func(*partFrame) ([]livePart, bool) {
	return func(*partFrame) ([]livePart, bool) {
		c, err := s.Objects.Clients().LookUp(username)
		return []livePart{{"stats", "stats", c}, s.liveRefusals(monitor.RefusalFilter{Client: username})}, err == nil
	}
}

func (s *Site) liveCluster(*partFrame) ([]livePart, bool) {
	if s.Cluster == nil {
		return nil, false
	}
	now := s.Cluster.Known()
	parts := []livePart{{"leads", "leads", now}}
	for _, n := range now.Nodes {
		parts = append(parts, livePart{nodeRow(n), "node-row", n})
	}
	return parts, true
}

func (s *Site) liveRefusals(f monitor.RefusalFilter) livePart {
	return livePart{"refusals", "refusal-list", s.refusedLately(f)}
}
