package broker

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/login"
)

// strongSubKey is a length in characters: a shorter SubKey is taken, and warned about. One that is made has
// 128 random bits.
const strongSubKey = 16

// weakSubKey returns why a SubKey is easily guessed, empty where nothing shows that or it is to be made.
func weakSubKey(subKey string) string {
	if subKey != "" && len(subKey) < strongSubKey {
		return fmt.Sprintf("it is shorter than %d characters", strongSubKey)
	}
	return ""
}

// shortLetters is an expiration of a dead-letter topic in seconds: a shorter one is warned about, since nobody looks in time.
const shortLetters = 24 * 60 * 60

// letterLoss returns why dead letters in a topic of the definition are lost soon, empty where it has none such.
func (d *Definition) letterLoss(topic string) string {
	i := slices.IndexFunc(d.Topics, func(t Topic) bool { return t.Name == topic })
	if topic == "" || i < 0 {
		return ""
	}
	if after := cmp.Or(d.Topics[i].Expiration, limit.DefaultExpiration); after > 0 && after < shortLetters {
		return fmt.Sprintf("%q has them expire after %d seconds, expiration = 0 keeps them", clip.Input(topic), after)
	}
	return ""
}

// Weak returns what is to be warned about in a definition, a line for the passwords, one for the SubKeys,
// one for the secrets of webhooks, none of which it tells, and one for dead letters that are lost soon.
func (d *Definition) Weak() []string {
	passwords := weakness{one: "the password of client %s is weak: %s", many: "the passwords of %d clients are weak: %s"}
	for i := range d.Clients {
		if c := &d.Clients[i]; c.Password != "" {
			passwords.add(fmt.Sprintf("%q", clip.Input(c.Username)), login.WeakPassword(c.Username, c.Password))
		}
	}
	keys := weakness{one: "the sub_key of consumer %s is weak: %s", many: "the sub_keys of %d consumers are weak: %s"}
	for i := range d.Consumers {
		c := &d.Consumers[i]
		keys.add(fmt.Sprintf("%q of topic %q", clip.Input(c.Client), clip.Input(c.Topic)), weakSubKey(c.SubKey))
	}
	letters := weakness{one: "the dead letters of consumer %s are lost soon: %s", many: "the dead letters of %d consumers are lost soon, since their topics have them expire: %s"}
	for i := range d.Consumers {
		c := &d.Consumers[i]
		letters.add(fmt.Sprintf("%q of topic %q", clip.Input(c.Client), clip.Input(c.Topic)), d.letterLoss(c.DeadLetterTopic))
	}
	secrets := weakness{one: "the secret of webhook %s is weak: %s", many: "the secrets of %d webhooks are weak: %s"}
	for i := range d.Webhooks {
		w := &d.Webhooks[i]
		for _, s := range w.Secret.All() {
			secrets.add(fmt.Sprintf("%q", clip.Input(w.Name)), weakSubKey(s))
		}
	}
	return slices.Concat(passwords.lines(), keys.lines(), secrets.lines(), letters.lines())
}

// weakness gathers what is weak in a line.
type weakness struct {
	one, many string
	names     []string
	reason    string // of the last one
}

func (w *weakness) add(name, reason string) {
	if reason != "" {
		w.names, w.reason = append(w.names, name), reason
	}
}

func (w *weakness) lines() []string {
	const most = 10 // names
	n := len(w.names)
	switch {
	case n == 0:
		return nil
	case n == 1:
		return []string{fmt.Sprintf(w.one, w.names[0], w.reason)}
	}
	list := strings.Join(w.names[:min(n, most)], ", ")
	if n > most {
		list += fmt.Sprintf(" and %d more", n-most)
	}
	return []string{fmt.Sprintf(w.many, n, list)}
}
