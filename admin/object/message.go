package object

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"pipit/admin/gate"
	"pipit/broker"
	"pipit/broker/browse"
	"pipit/broker/clip"
	"pipit/broker/limit"
)

// Browse looks at stored messages without consuming them. The errors are Invalid and NotFound.
func (o *Objects) Browse(ctx context.Context, options browse.Options) (browse.Page, error) {
	return o.b.Browse(ctx, options)
}

// Message returns a message of a topic with its payload, and where it stands with each
// consumer. The error is NotFound.
func (o *Objects) Message(topic, id string) (Message, []Standing, error) {
	stored, with, err := o.b.Message(topic, id)
	if err != nil {
		return Message{}, nil, err
	}
	standings := make([]Standing, len(with))
	for i, s := range with {
		standings[i] = Standing{s.Consumer, s.Client, string(s.State), s.Deliveries, gate.TimeOf(s.Until)}
	}
	return MessageOf(&stored, true), standings, nil
}

// Publish publishes a message to a topic, as "admin NAME", and returns its ID when it is on disk
// for every consumer. It is no change that the audit log tells of: the message says who published
// it. A topic that a template would make is made. The errors are Invalid, TooLarge, NotFound, Denied (the topic is not active), Full,
// Unavailable and DiskFull.
func (o *Objects) Publish(ctx context.Context, who gate.Actor, topic string, p Publication) (string, error) {
	var deliverAt time.Time
	if p.DeliverAt != "" {
		var err error
		if deliverAt, err = limit.ParseDeliverAt(p.DeliverAt); err != nil {
			return "", err
		}
	}
	options := []broker.PublishOption{
		broker.WithProducer("admin " + who.Name),
		broker.WithPriority(p.Priority),
		broker.WithExpiration(p.Expiration),
		broker.WithMIMEType(p.MIMEType),
		broker.WithDelay(p.Delay),
		broker.WithDeliverAt(deliverAt),
		broker.WithID(p.ID),
		broker.WithCorrelationID(p.CorrelationID),
		broker.WithReplyTo(p.ReplyTo),
		broker.WithAttributes(p.attributes()...),
	}
	id, err := o.b.Publish(ctx, topic, p.Payload, options...)
	if e := broker.ErrorOf(err); e != nil && e.Code == broker.Denied { // clients alone are not told why
		return "", &broker.Error{Code: broker.Denied, Message: strings.ToUpper(e.Reason[:1]) + e.Reason[1:]}
	}
	return id, err
}

// DeleteMessages deletes messages of a topic for all of its consumers, and returns how many of
// them there were. The errors are Invalid, NotFound (no such topic), Unavailable and DiskFull.
func (o *Objects) DeleteMessages(ctx context.Context, who gate.Actor, topic string, ids []string) (int, error) {
	return o.deleteMessages(ctx, who, topic, ids, "")
}

// deleteMessages is DeleteMessages, with why these ones for the audit log.
func (o *Objects) deleteMessages(ctx context.Context, who gate.Actor, topic string, ids []string, why string) (int, error) {
	if _, err := o.Topics().Get(topic); err != nil {
		return 0, err
	}
	if len(ids) == 0 || len(ids) > limit.MaxSettle {
		return 0, gate.Invalid("ids", "%d ids: allowed are 1 to %d", len(ids), limit.MaxSettle)
	}
	return o.b.DeleteMessages(ctx, topic, ids, o.trail.Entry(who, "message.delete", topic, which(ids)+why))
}

// which says in the audit log which messages were meant.
func which(ids []string) string {
	if len(ids) == 1 {
		return clip.Input(ids[0])
	}
	return fmt.Sprintf("%d messages", len(ids))
}

// Redrive moves dead letters of a topic back to the consumers for which they failed. The errors are those of
// broker.Redrive.
func (o *Objects) Redrive(ctx context.Context, who gate.Actor, topic string, r broker.Redrive) (broker.Redriven, error) {
	if _, err := o.Topics().Get(topic); err != nil {
		return broker.Redriven{}, err
	}
	detail := "all"
	switch n := len(r.IDs); {
	case n == 1:
		detail = r.IDs[0]
	case n > 1:
		detail = fmt.Sprintf("%d messages", n)
	default:
		for _, part := range [][2]string{{"reason", r.Reason}, {"topic", r.Topic}, {"consumer", r.Consumer}} {
			if part[1] != "" {
				detail += fmt.Sprintf(", %s %s", part[0], clip.Input(part[1]))
			}
		}
	}
	return r.Run(ctx, o.b, topic, o.trail.Entry(who, "message.redrive", topic, detail))
}

// ReleaseMessage makes a message deliverable at once that waits for its delay, or, for one consumer
// (0: for all), one that is put off or in flight. It tells whether anything has changed. The errors
// are NotFound, Unavailable and DiskFull.
func (o *Objects) ReleaseMessage(ctx context.Context, who gate.Actor, topic, id string, consumer uint32) (bool, error) {
	if _, err := o.Topics().Get(topic); err != nil {
		return false, err
	}
	return o.b.ReleaseMessage(ctx, topic, id, consumer, o.trail.Entry(who, "message.release", topic, clip.Input(id)))
}

// EncodingBase64 says that a payload, which is no UTF-8, is in base64.
const EncodingBase64 = "base64"

// textOf returns a payload as a text, with its encoding, which is empty where the text is the payload.
func textOf(payload []byte) (text, encoding string) {
	if utf8.Valid(payload) {
		return string(payload), ""
	}
	return base64.StdEncoding.EncodeToString(payload), EncodingBase64
}

// payloadOf is the opposite of textOf.
func payloadOf(text, encoding string) ([]byte, error) {
	switch encoding {
	case "":
		return []byte(text), nil
	case EncodingBase64:
		return base64.StdEncoding.DecodeString(text)
	default:
		return nil, fmt.Errorf("payload of the unknown encoding %q", clip.Input(encoding))
	}
}
