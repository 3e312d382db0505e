package refused

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"pipit/broker/clip"
	"pipit/broker/login"
)

// MaxRecent is how many refusals Recent keeps.
const MaxRecent = 1000

// Refusal is a request that was refused. Nothing in it is a secret: of a sub_key it has what the broker knows by it, and its
// Reason is that of the log.
type Refusal struct {
	Number   uint64    // 1 for the first since the start of the process
	At       time.Time // when it was answered
	Client   string    // who is signed in, or else is said to ask: at most 128 bytes and "…"; empty: nobody
	Known    bool      // there is a client of that name
	SignedIn bool      // with the right password
	Addr     string    // IP address that it came from
	Method   string
	Route    string // path without what names a topic, a message or a webhook: "/zato/pubsub/topic"; empty: the path has none
	Topic    string // that the path names, existing or not, or that of the consumer; empty: not known
	Consumer uint32 // ID of the consumer that the sub_key opens; 0: not known
	Webhook  string // that is called; empty: none
	Status   int    // 400 or more
	Reason   string // as the log has it, at most 300 bytes
}

// Recent keeps the last MaxRecent refusals in memory. When it is full, the source that has most of them loses its oldest, so
// that nobody pushes out what there is of others: a client is a source, signed in or not, and so is each network of those whose names
// are of no client. The zero value is empty. Its methods may be called from any goroutine.
type Recent struct {
	mu    sync.Mutex
	last  uint64               // number of the last one; guarded by mu
	total int                  // in all lists; guarded by mu
	lists []*ofSource          // none is empty; guarded by mu
	of    map[origin]*ofSource // by source; guarded by mu
}

// origin is whose refusals are counted together.
type origin struct {
	client   string
	signedIn bool
	network  string
}

// ofSource are the refusals of one source, the oldest first.
type ofSource struct {
	origin
	refusals []Refusal
}

// Add notes a refusal, whose Number it gives. What it keeps of the texts is theirs no more: they may be parts of larger ones.
func (r *Recent) Add(x Refusal) {
	x.Client, x.Topic, x.Reason = kept(x.Client, 128), kept(x.Topic, 256), kept(x.Reason, 300)
	x.Webhook, x.Method, x.Addr = kept(x.Webhook, 64), kept(x.Method, 16), kept(x.Addr, 64)
	from := origin{client: x.Client, signedIn: x.SignedIn}
	if !x.Known {
		from = origin{network: login.Network(x.Addr)}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == nil {
		r.of = map[origin]*ofSource{}
	}
	r.last++
	r.total++
	x.Number = r.last
	s := r.of[from]
	if s == nil {
		s = &ofSource{origin: from}
		r.of[from] = s
		r.lists = append(r.lists, s)
	}
	s.refusals = append(s.refusals, x)
	if r.total > MaxRecent {
		r.drop()
	}
}

// kept is at most n bytes of a text, as valid UTF-8, in memory of its own.
func kept(s string, n int) string { return strings.Clone(strings.ToValidUTF8(clip.To(s, n), "\uFFFD")) }

// drop lets go of the oldest refusal of the source that has most, of several such the oldest of all. The caller holds mu.
func (r *Recent) drop() {
	longest := 0
	for i, s := range r.lists[1:] {
		if l := r.lists[longest]; len(s.refusals) > len(l.refusals) ||
			len(s.refusals) == len(l.refusals) && s.refusals[0].Number < l.refusals[0].Number {
			longest = i + 1
		}
	}
	s := r.lists[longest]
	s.refusals[0] = Refusal{} // what its texts take goes before the rest of the array does
	s.refusals = s.refusals[1:]
	r.total--
	if len(s.refusals) == 0 {
		delete(r.of, s.origin)
		r.lists = slices.Delete(r.lists, longest, longest+1)
	}
}

// List returns the refusals, the newest first. A nil Recent has none.
func (r *Recent) List() []Refusal {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	all := make([]Refusal, 0, r.total)
	for _, s := range r.lists {
		all = append(all, s.refusals...)
	}
	r.mu.Unlock()
	slices.SortFunc(all, func(x, y Refusal) int { return cmp.Compare(y.Number, x.Number) })
	return all
}
