package object

import (
	"cmp"
	"encoding/json"
	"strings"

	"pipit/broker"
	"pipit/broker/clip"
)

// A consumer that Zato calls back names an outgoing connection, whose address is in the answer of another service,
// zato.http-soap.get-list with the connection outgoing. The document may have that too, bare as "outgoing" or as it was
// answered, before the consumers or after them.
const (
	zatoOutgoing         = "outgoing"
	zatoOutgoingResponse = "zato_http_soap_get_list_response"
)

// zatoCallback is a consumer that is to be sent its messages.
type zatoCallback struct {
	consumer   int    // its index in what is read
	connection string // the ID of the outgoing connection, or a URL
}

// zatoConnection is an outgoing connection.
type zatoConnection struct {
	url     string
	secured bool // by credentials, which the list does not have
}

// outgoing reads an outgoing connection.
func (z *zatoReader) outgoing(item Node, _ string) error {
	host, err := item.text("host")
	if err != nil {
		return err
	}
	path, err := item.text("url_path")
	if err != nil {
		return err
	}
	if id := item.id("id"); id != "" && host != "" {
		z.connections[id] = zatoConnection{host + path, item.id("security_id") != ""}
	}
	return nil
}

// id returns a member that is a number or a text as a text, empty where it is neither.
func (n Node) id(names ...string) string {
	for _, name := range names {
		switch v, _ := n.Member(name); v := v.Value.(type) {
		case json.Number:
			return v.String()
		case string:
			if v != "" {
				return v
			}
		}
	}
	return ""
}

// delivery takes over how a consumer gets its messages, which is read behind the others.
func (z *zatoReader) delivery(item Node, c *broker.Consumer) error {
	mode, err := item.text("delivery_mode")
	if err != nil {
		return err
	}
	switch mode {
	case "", broker.DeliveryPull: // what it has here stays
	case broker.DeliveryCallback:
		z.callbacks = append(z.callbacks, zatoCallback{len(z.d.define.Consumers), item.id("callback_id", "callback")})
	default:
		z.warn("consumer %q: there is no delivery_mode %q here, its client has to receive", OfTopic(c.Client, c.Topic), clip.Input(mode))
	}
	return nil
}

// call gives the consumers that are to be sent their messages the URLs of what they name.
func (z *zatoReader) call() {
	for _, b := range z.callbacks {
		c := &z.d.define.Consumers[b.consumer]
		to := z.connections[b.connection]
		if strings.HasPrefix(b.connection, "http://") || strings.HasPrefix(b.connection, "https://") {
			to.url = b.connection
		}
		if c.CallbackURL = cmp.Or(to.url, c.CallbackURL); c.CallbackURL != "" {
			if to.secured && c.CallbackHeaders.IsZero() {
				z.warn("consumer %q: its receiver wants credentials, which Zato does not tell: set callback_headers", OfTopic(c.Client, c.Topic))
			}
			c.DeliveryMode = broker.DeliveryCallback
			continue
		}
		z.warn("consumer %q: messages were sent to the outgoing connection %q, which the document does not have, so its client has to receive until it has a callback_url: add what zato.http-soap.get-list answers of outgoing connections, as %q",
			OfTopic(c.Client, c.Topic), clip.Input(b.connection), zatoOutgoing)
	}
}
