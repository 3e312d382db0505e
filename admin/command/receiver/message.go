package receiver

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/broker"
)

// Queue is what a consumer receives from.
type Queue interface {
	// Receive returns at most max messages, in flight, waiting for the first one at most so long.
	Receive(ctx context.Context, max int, wait time.Duration) ([]Delivery, error)
	// Settle acknowledges, rejects and extends, and returns the IDs of what the consumer does not have.
	Settle(ctx context.Context, st broker.Settlement) (missing []string, err error)
}

// Delivery is a message as the wire protocol returns it.
type Delivery struct {
	Payload  string   `json:"payload"`
	Metadata Metadata `json:"metadata"`
}

// Metadata is what a message has beside its payload.
type Metadata struct {
	ID            string `json:"msg_id"`
	Topic         string `json:"topic"`
	Created       string `json:"creation_time_utc"`
	Expiration    int64  `json:"expiration"`
	ExpireAt      string `json:"expire_at_utc"`
	Producer      string `json:"producer"`
	Priority      int    `json:"priority"`
	MIMEType      string `json:"mime_type"`
	DeliveryCount int    `json:"delivery_count"`
	Encoding      string `json:"encoding,omitempty"`

	CorrelationID string            `json:"correlation_id,omitempty"`
	ReplyTo       string            `json:"reply_to,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
	DeadLetter    *DeadLetter       `json:"dead_letter,omitempty"`
}

// DeadLetter tells where a message failed.
type DeadLetter struct {
	Topic    string `json:"topic"`
	Consumer string `json:"consumer"`
	Reason   string `json:"reason"`
	Count    uint32 `json:"delivery_count"`
	At       string `json:"time_utc"`
}

// Base64 is the encoding of a payload that is no text.
const Base64 = "base64"

// Bytes is the payload as it was published.
func (d *Delivery) Bytes() ([]byte, error) {
	if d.Metadata.Encoding == Base64 {
		return base64.StdEncoding.DecodeString(d.Payload)
	}
	return []byte(d.Payload), nil
}

// Names of the variables of a message.
const (
	varPrefix  = "PIPIT_"
	attrPrefix = "PIPIT_ATTR_"
	deadPrefix = "PIPIT_DEAD_LETTER_"
)

// vars returns the variables that tell a message's metadata. What it has not is empty, so that a script need not ask whether it is set.
func (m *Metadata) vars() ([]string, error) {
	var all bytes.Buffer
	e := json.NewEncoder(&all)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	vars := []string{
		variable(varPrefix, "msg_id", m.ID),
		variable(varPrefix, "topic", m.Topic),
		variable(varPrefix, "priority", strconv.Itoa(m.Priority)),
		variable(varPrefix, "delivery_count", strconv.Itoa(m.DeliveryCount)),
		variable(varPrefix, "creation_time", m.Created),
		variable(varPrefix, "expiration", strconv.FormatInt(m.Expiration, 10)),
		variable(varPrefix, "expire_at", m.ExpireAt),
		variable(varPrefix, "producer", m.Producer),
		variable(varPrefix, "mime_type", m.MIMEType),
		variable(varPrefix, "correlation_id", m.CorrelationID),
		variable(varPrefix, "reply_to", m.ReplyTo),
		variable(varPrefix, "metadata", strings.TrimSpace(all.String())),
	}
	if d := m.DeadLetter; d != nil {
		vars = append(vars,
			variable(deadPrefix, "topic", d.Topic),
			variable(deadPrefix, "consumer", d.Consumer),
			variable(deadPrefix, "reason", d.Reason),
			variable(deadPrefix, "count", strconv.FormatUint(uint64(d.Count), 10)),
			variable(deadPrefix, "time", d.At))
	}
	// Of two attributes with the same variable the first in the order of names has it.
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(m.Attributes)) {
		v := variable(attrPrefix, name, m.Attributes[name])
		known, _, _ := strings.Cut(v, "=")
		if !seen[known] {
			vars = append(vars, v)
		}
		seen[known] = true
	}
	return slices.DeleteFunc(vars, func(v string) bool { return v == "" }), nil
}

// variable makes a variable of a name, of which only letters, digits and _ are left, and a value. It is empty where there
// can be no such variable.
func variable(prefix, name, value string) string {
	if strings.Contains(value, "\x00") {
		return ""
	}
	return prefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name) + "=" + value
}

// Without is an environment but for secrets, and for what could be taken for a message's.
func Without(env []string, secrets ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(secrets, name) || strings.HasPrefix(name, attrPrefix) || strings.HasPrefix(name, deadPrefix)
	})
}
