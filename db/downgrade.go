package db

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"pipit/broker/store"
)

// release is one before this one: what it knows of a file. What is new needs no line here.
type release struct {
	version string
	format  uint32                        // the highest that it opens
	fields  map[store.ObjectKind][]string // of the objects that it knows
}

// releases are the earlier ones, the oldest first.
var releases = []release{
	{"0.1.0", 1, map[store.ObjectKind][]string{
		store.Client:   {"Username", "Name", "PasswordHash", "Active"},
		store.Topic:    {"ID", "Name", "MaxDepth", "Expiration", "DedupWindow", "Active"},
		store.Producer: {"ID", "Client", "Topic", "Active"},
		store.Consumer: {"ID", "Client", "Topic", "SubKey", "MaxDepth", "MaxInFlight", "AckTimeout", "Active"},
	}},
}

// Releases returns the versions that Downgrade knows, the oldest first.
func Releases() (versions []string) {
	for _, r := range releases {
		versions = append(versions, r.version)
	}
	return versions
}

// Loss is what an earlier release would make of a file.
type Loss struct {
	Format uint32     // of the file
	Opens  uint32     // the highest format that the release opens: where it is less, it refuses the file and leaves it as it is
	Lost   []LostPart // what is in the file that the release does not know, by What
}

// LostPart is a count of what a release does not know, such as 3 "topics with retention".
type LostPart struct {
	What  string
	Count int
}

// Downgrade tells what the release of a version, one of Releases, would make of the file at path, which it leaves as it is and
// reads as a whole. The errors are those of Open.
func Downgrade(path string, opts Options, version string) (loss Loss, err error) {
	at := slices.IndexFunc(releases, func(r release) bool { return r.version == version })
	if at < 0 {
		return loss, fmt.Errorf("version %q: allowed are %s", version, strings.Join(Releases(), ", "))
	}
	defer guard(&err)()
	opts.MustExist, opts.leave = true, true
	s, err := Open(path, opts)
	if err != nil {
		return loss, err
	}
	defer s.Close()
	st, err := readState(s.bolt())
	if err != nil {
		return loss, err
	}
	img, err := s.Load()
	if err != nil {
		return loss, err
	}
	var v view
	in, err := s.enter(&v)
	if err != nil {
		return loss, err
	}
	defer in.leave()
	lost := counts{}
	lost.objects(img, &releases[at])
	lost.messages(&v)
	lost.documents(&v)
	loss = Loss{Format: st.format, Opens: releases[at].format}
	for _, what := range slices.Sorted(maps.Keys(lost)) {
		loss.Lost = append(loss.Lost, LostPart{what, lost[what]})
	}
	return loss, nil
}

// counts are those of LostParts.
type counts map[string]int

// fieldTexts say what a field is of whose name nobody outside knows. Empty: what it has is made anew.
var fieldTexts = map[string]string{
	"Template": "topics that a template made",
	"Old":      "consumers with an old sub_key that is valid as well",
	"Declared": "",
	"Replaced": "",
}

// objects counts fields that are set, as what is not is not stored, and kinds.
func (n counts) objects(img *store.Image, r *release) {
	exact := map[string]bool{}
	for i := range img.Objects {
		o := &img.Objects[i]
		known, ok := r.fields[o.Kind]
		switch {
		case o.Kind == store.Queue: // of consumers of patterns
			continue
		case !ok:
			n[string(o.Kind)+"s"]++
			continue
		}
		var fields map[string]json.RawMessage
		_ = json.Unmarshal(o.Value, &fields) // it was one already
		for name := range fields {
			text, special := fieldTexts[name]
			switch {
			case slices.Contains(known, name) || special && text == "":
			case special:
				n[text]++
			default:
				n[string(o.Kind)+"s with "+fieldName(name)]++
			}
		}
		var of struct{ Topic string }
		_ = json.Unmarshal(o.Value, &of)
		switch {
		case o.Kind == store.Topic: // which come before who names them
			exact[o.Key] = fields["AutoCreate"] == nil
		case strings.Contains(of.Topic, "*") && !exact[of.Topic]:
			n[string(o.Kind)+"s of a pattern"]++
		}
	}
}

var words = regexp.MustCompile(`([a-z])([A-Z])|([A-Z])([A-Z][a-z])`)

// fieldName is what the configuration calls a field: max_bytes is MaxBytes.
func fieldName(name string) string {
	return strings.ToLower(words.ReplaceAllString(name, "${1}${3}_${2}${4}"))
}

// messages counts those with an Extra.
func (n counts) messages(at *view) {
	var rec store.Record
	var dec decoder
	for _, name := range []int{bucketLog, bucketDelayed} {
		_ = at.bucket(name).ForEach(func(_, v []byte) error {
			if at.decode(&dec, v, &rec) != nil || rec.Extra == nil {
				return nil
			}
			for what, has := range map[string]bool{
				"messages with attributes":                 len(rec.Extra.Attributes) > 0,
				"messages with correlation_id":             rec.Extra.CorrelationID != "",
				"messages with reply_to":                   rec.Extra.ReplyTo != "",
				"dead letters that know where they failed": rec.Extra.DeadLetter != nil,
			} {
				if has {
					n[what]++
				}
			}
			return nil
		})
	}
}

// documentTexts say what documents are that somebody would miss.
var documentTexts = map[string]string{
	"administrator": "administrators",
	"token":         "tokens",
	"audit":         "entries of the audit log",
	"history":       "blocks of the history of messages",
}

// documents counts those by their kind, of which no release knew any before there was the bucket.
func (n counts) documents(at *view) {
	_ = at.bucket(bucketDocument).ForEach(func(k, _ []byte) error {
		kind, _, _ := strings.Cut(string(k), "\x00")
		kind, _, _ = strings.Cut(kind, ".")
		if text := documentTexts[kind]; text != "" {
			n[text]++
		}
		return nil
	})
}
