package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pipit/broker/change"
	"pipit/broker/clip"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/broker/signing"
	"pipit/broker/stats"
)

// Webhook lets a sender that knows no topics, such as a shop or a code host, publish to one, as one of its producers: by
// POST /hook/NAME, which its signature or its address vouches for. A field that is zero has its default.
type Webhook struct {
	Name     string // of the path: 1 to 64 of A-Z a-z 0-9 . _ -
	Topic    string // name
	Client   string // username: it publishes as that one
	Inactive bool   `json:"-"` // nobody can call it

	Verify    string         // how a call is known to be the sender's: a Verify… constant
	Secret    property.Texts `json:",omitzero"`  // one, or two while they change; none for VerifyNone
	Header    string         `json:",omitempty"` // which has the signature or the token: of VerifyHMAC and VerifyToken
	Algorithm string         `json:",omitempty"` // of VerifyHMAC: sha1, sha256 or sha512; default sha256
	Encoding  string         `json:",omitempty"` // of VerifyHMAC: hex or base64; default hex
	Prefix    string         `json:",omitempty"` // of VerifyHMAC, in front of the signature, such as "sha256="

	IDHeader  string         `json:",omitempty"` // which has the sender's delivery ID; default: that of Verify, if it has one
	Headers   property.Texts `json:",omitzero"`  // which become attributes of the message
	AllowFrom property.Texts `json:",omitzero"`  // networks that may call; none: all may
}

// headerPattern is what can be the name of a header that a webhook looks at.
const headerPattern = `^[A-Za-z0-9._-]*$`

// webhookFields are the properties of a webhook.
var webhookFields = property.Fields[Webhook]{
	{
		Name: "name", At: func(w *Webhook) any { return &w.Name },
		Max: limit.MaxWebhookName, Check: checkWebhookName, Pattern: `^[A-Za-z0-9_-][A-Za-z0-9._-]*$`, Required: true, Fixed: true, Subject: "webhook name",
		Label: "Name", Hint: "The end of its path, /hook/NAME", Example: "shop",
		Help: "end of its path, /hook/NAME: letters, digits and . _ -, no dot in front",
	},
	{
		Name: "topic", At: func(w *Webhook) any { return &w.Topic },
		Max: limit.MaxTopicName, Required: true,
		Label: "Topic", Hint: "Where its messages go", Example: "/order/paid",
		Help: "`NAME` of the topic that its messages go to",
	},
	{
		Name: "client", At: func(w *Webhook) any { return &w.Client },
		Max: limit.MaxUsername, Required: true,
		Label: "Client", Hint: "A username. It publishes as that client, who must be a producer of the topic", Example: "crm",
		Help: "`USERNAME` of the client that it publishes as, who must be a producer of the topic",
	},
	{
		Name: "verify", At: func(w *Webhook) any { return &w.Verify },
		Options: []property.Option{
			{Value: VerifyStandard, Label: "Standard Webhooks (webhook-signature)"},
			{Value: VerifyGitHub, Label: "GitHub (X-Hub-Signature-256)"},
			{Value: VerifyGitLab, Label: "GitLab (X-Gitlab-Token)"},
			{Value: VerifyStripe, Label: "Stripe (Stripe-Signature)"},
			{Value: VerifyShopify, Label: "Shopify (X-Shopify-Hmac-Sha256)"},
			{Value: VerifySlack, Label: "Slack (X-Slack-Signature)"},
			{Value: VerifyHMAC, Label: "another HMAC of the body"},
			{Value: VerifyToken, Label: "a secret in a header"},
			{Value: VerifyNone, Label: "nothing but the sender's network"},
		}, Required: true,
		Label: "Verified by", Hint: "How a call is known to be the sender's",
		Help: "how a call is known to be the sender's: by the signature of a `SCHEME`; token: by a secret in a header; none: by allow_from alone",
	},
	{
		Name: "secret", At: func(w *Webhook) any { return &w.Secret },
		Max: limit.MaxWebhookSecret, MaxItems: 2, Secret: true,
		Label: "Secret", Hint: "As the sender shows it. Two, one a line, while the sender changes it",
		Help: "as the sender shows it; two while the sender changes it, and either one will do. None for the scheme none; where none is given, the one that there is stays. It is answered by an export alone",
	},
	{
		Name: "header", At: func(w *Webhook) any { return &w.Header },
		Max: limit.MaxHeaderName, Check: checkHeaderName, Pattern: headerPattern,
		Label: "Signature header", Hint: "For another HMAC, or for a secret in a header, where Authorization (Bearer …) is the default",
		Help: "`NAME` of the header with the signature, of the scheme hmac, or with the secret, of the scheme token (default Authorization, behind the word Bearer)",
	},
	{
		Name: "algorithm", At: func(w *Webhook) any { return &w.Algorithm },
		Default: "sha256", Options: []property.Option{{Value: "sha256", Label: "SHA-256"}, {Value: "sha1", Label: "SHA-1"}, {Value: "sha512", Label: "SHA-512"}},
		Label: "Algorithm", Hint: "For another HMAC",
		Help: "hash of the scheme hmac",
	},
	{
		Name: "encoding", At: func(w *Webhook) any { return &w.Encoding },
		Default: "hex", Options: []property.Option{{Value: "hex", Label: "hexadecimal"}, {Value: "base64", Label: "base64"}},
		Label: "Encoding", Hint: "Of the signature of another HMAC",
		Help: "encoding of the signature, of the scheme hmac",
	},
	{
		Name: "prefix", At: func(w *Webhook) any { return &w.Prefix },
		Max: 32, Check: checkPrefix,
		Label: "Prefix", Hint: "In front of the signature of another HMAC, such as sha256=",
		Help: "what stands in front of the signature, of the scheme hmac, such as sha256=",
	},
	{
		Name: "id_header", At: func(w *Webhook) any { return &w.IDHeader },
		Max: limit.MaxHeaderName, Check: checkHeaderName, Pattern: headerPattern,
		Label: "ID header", Hint: "Has the sender's delivery ID, by which a repeated call is recognised. Empty: where the scheme has it",
		Help: "`NAME` of the header with the sender's delivery ID, which becomes the msg_id, so that a repeated call is stored once (default that of the scheme)",
	},
	{
		Name: "headers", At: func(w *Webhook) any { return &w.Headers },
		Max: limit.MaxHeaderName, MaxItems: limit.MaxWebhookHeaders, Check: checkHeaderName, Pattern: headerPattern, Example: "X-GitHub-Event",
		Label: "Headers kept", Hint: "They become attributes of the message. One a line",
		Help: "`NAMES` of headers that become attributes of the message",
	},
	{
		Name: "allow_from", At: func(w *Webhook) any { return &w.AllowFrom },
		Max: 64, Check: checkNetwork, Example: "192.0.2.0/24",
		Label: "Allowed from", Hint: "Networks such as 192.0.2.0/24, one a line. Empty: from everywhere",
		Help: "`NETWORKS` that may call, such as 192.0.2.0/24 (default all; the scheme none needs some)",
	},
	{
		Name: "is_active", At: func(w *Webhook) any { return (*property.Opposite)(&w.Inactive) },
		Default: true,
		Label:   "Active", Hint: "An inactive webhook answers as if it were not there",
		Help: "whether it can be called; as long as not, it answers as if it were not there",
	},
}

func checkWebhookName(s string) error {
	if s == "" || len(s) > limit.MaxWebhookName || s[0] == '.' || strings.ContainsFunc(s, property.NotKeyChar) {
		return fmt.Errorf("allowed are 1 to %d of A-Z a-z 0-9 . _ -, no dot in front", limit.MaxWebhookName)
	}
	return nil
}

func checkHeaderName(s string) error {
	if len(s) > limit.MaxHeaderName || strings.ContainsFunc(s, property.NotKeyChar) {
		return fmt.Errorf("allowed are at most %d of A-Z a-z 0-9 . _ -", limit.MaxHeaderName)
	}
	return nil
}

func checkPrefix(s string) error {
	if len(s) > 32 || !property.Printable(s) {
		return errors.New("allowed are at most 32 bytes without control characters")
	}
	return nil
}

func checkNetwork(s string) error {
	if _, err := property.ParseNetwork(s); err != nil {
		return errors.New("allowed are networks such as 192.0.2.0/24, or addresses")
	}
	return nil
}

// Validate checks the webhook's fields. The error joins one for each that is wrong.
func (w *Webhook) Validate() error {
	of := fmt.Sprintf("webhook %q", clip.Input(w.Name))
	wrong := []error{ours(WebhookFields.Validate(w, of))}
	blame := func(field, allowed string) {
		wrong = append(wrong, wrongValue(field, "", field+" of "+of, allowed))
	}
	switch {
	case w.Verify == "":
		blame("verify", "it is missing, allowed are "+WebhookFields.Named("verify").Allowed())
	case w.Verify == VerifyNone && w.AllowFrom.IsZero():
		blame("allow_from", "without a signature it is needed: networks that may call")
	case w.Verify == VerifyNone && !w.Secret.IsZero():
		blame("secret", "allowed is none, since nothing is verified by it")
	case w.Verify != VerifyNone && w.Secret.IsZero():
		blame("secret", "it is missing")
	case w.Verify == VerifyStandard:
		for i, s := range w.Secret.All() {
			if _, err := signing.StandardSecret(s); err != nil {
				blame("secret", fmt.Sprintf("item %d: %v", i+1, err))
			}
		}
	case w.Verify == VerifyHMAC && w.Header == "":
		blame("header", "it is missing: which has the signature")
	}
	return errors.Join(wrong...)
}

// webhook is a Webhook at work.
type webhook struct {
	def      atomic.Pointer[Webhook]
	revision string // of def; guarded by Broker.mu

	accepted, duplicates                                 atomic.Uint64
	badSignature, badAddress, refusedFull, refusedOthers atomic.Uint64
	last                                                 atomic.Int64 // microseconds; 0: never
}

// webhooks are those of a broker, by name.
type webhooks struct {
	of     *Broker
	byName map[string]*webhook // guarded by Broker.mu
}

// WebhookInfo is a webhook as an administrator sees it, without its secrets.
type WebhookInfo struct {
	Webhook
	Revision string
	stats.HookCounts
	LastCall time.Time // the last call that was accepted; zero: none since the start of the process
}

// Webhooks returns all webhooks, by Name.
func (h *webhooks) Webhooks() []WebhookInfo {
	h.of.mu.RLock()
	defer h.of.mu.RUnlock()
	list := make([]WebhookInfo, 0, len(h.byName))
	for _, w := range h.byName {
		list = append(list, w.info())
	}
	slices.SortFunc(list, func(x, y WebhookInfo) int { return cmp.Compare(x.Name, y.Name) })
	return list
}

// Webhook returns a webhook.
func (h *webhooks) Webhook(name string) (WebhookInfo, bool) {
	h.of.mu.RLock()
	defer h.of.mu.RUnlock()
	w := h.byName[name]
	if w == nil {
		return WebhookInfo{}, false
	}
	return w.info(), true
}

func (w *webhook) info() WebhookInfo {
	i := WebhookInfo{Webhook: *w.def.Load(), Revision: w.revision, HookCounts: stats.HookCounts{
		Accepted: w.accepted.Load(), Duplicates: w.duplicates.Load(), Signature: w.badSignature.Load(), Address: w.badAddress.Load(),
		Full: w.refusedFull.Load(), Other: w.refusedOthers.Load(),
	}}
	i.Secret = property.Texts{}
	if at := w.last.Load(); at != 0 {
		i.LastCall = time.UnixMicro(at).UTC()
	}
	return i
}

// Hook is the door of a webhook, for one call.
type Hook struct {
	*Webhook // as it is defined, with its secrets; not to be changed
	b        *Broker
	at       *webhook
}

// Hook returns the door of an active webhook. It is false where there is none.
func (h *webhooks) Hook(name string) (Hook, bool) {
	h.of.mu.RLock()
	defer h.of.mu.RUnlock()
	w := h.byName[name]
	if w == nil || w.def.Load().Inactive {
		return Hook{}, false
	}
	return Hook{w.def.Load(), h.of, w}, true
}

// Publisher returns the door through which it publishes. The error is Denied where its client is no active producer of its
// topic.
func (h Hook) Publisher() (Publisher, error) {
	h.b.mu.RLock()
	c := h.b.clients[h.Client]
	h.b.mu.RUnlock()
	if c == nil {
		return Publisher{}, denied("no client %q", h.Client)
	}
	return h.b.Publisher(&c.Client, h.Topic)
}

// Accepted counts a call that was stored, or had been.
func (h Hook) Accepted(duplicate bool) {
	if duplicate {
		h.at.duplicates.Add(1)
	} else {
		h.at.accepted.Add(1)
	}
	h.at.last.Store(time.Now().UnixMicro())
}

// Refused counts a call that was refused with an error.
func (h Hook) Refused(err error) {
	switch at := ErrorOf(err); {
	case at == nil:
		h.at.refusedOthers.Add(1)
	case at.Code == Unauthorized:
		h.at.badSignature.Add(1)
	case at.Code == Denied && at.Field == "allow_from":
		h.at.badAddress.Add(1)
	case at.Code == Full:
		h.at.refusedFull.Add(1)
	default:
		h.at.refusedOthers.Add(1)
	}
}

// webhooks checks webhooks and makes their records.
func (x *definer) webhooks(list []Webhook) {
	listed := make(map[string]bool, len(list))
	x.done.Webhooks = make([]change.Outcome[Webhook], 0, len(list))
	for i, w := range list {
		var before *Webhook
		if old := x.b.webhooks.byName[w.Name]; old != nil {
			if before = old.def.Load(); w.Secret.IsZero() && w.Verify != VerifyNone {
				w.Secret = before.Secret
			}
		}
		err := w.Validate()
		if err == nil {
			err = x.known("webhook", w.Client, w.Topic)
		}
		if err == nil && isPattern(w.Topic) && literal(x.b, w.Topic) == nil {
			err = wrongText("topic", w.Topic, fmt.Sprintf(" of webhook %q", w.Name), "allowed is one topic, no pattern")
		}
		switch {
		case err != nil:
		case listed[w.Name]:
			err = Invalidf("webhook %q is given twice", w.Name).of("name")
		case x.drop.webhooks[w.Name]:
			err = Invalidf("webhook %q is both given and deleted", w.Name).of("name")
		}
		listed[w.Name] = true
		if x.fault(change.Webhook, i, err) || len(x.faults) > 0 {
			continue
		}
		o := change.OutcomeOf(before, w)
		if x.done.Webhooks = append(x.done.Webhooks, o); o.Action != change.Keep {
			x.out.webhooks = append(x.out.webhooks, webhookRecord{w})
		}
	}
}
