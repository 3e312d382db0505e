package object

import (
	"bytes"
	"encoding/json"

	"pipit/admin/gate"
)

// DefinitionsVersion is that of the documents of this release.
const DefinitionsVersion = 1

// Definitions are all objects as they are defined, in an order that depends on nothing but them.
// They hold the hashes of passwords, the SubKeys of consumers and the secrets of webhooks.
type Definitions struct {
	Version   int                  `json:"version"` // of this form
	Clients   []ClientDefinition   `json:"clients"`
	Topics    []TopicDefinition    `json:"topics"`
	Producers []ProducerDefinition `json:"producers"`
	Consumers []ConsumerDefinition `json:"consumers"`
	Webhooks  []WebhookDefinition  `json:"webhooks"`
}

// Export returns the definitions as a document: the same bytes for the same objects.
func (o *Objects) Export() ([]byte, error) {
	have := o.b.Definition()
	d := Definitions{
		Version:   DefinitionsVersion,
		Clients:   make([]ClientDefinition, len(have.Clients)),
		Topics:    make([]TopicDefinition, len(have.Topics)),
		Producers: make([]ProducerDefinition, len(have.Producers)),
		Consumers: make([]ConsumerDefinition, len(have.Consumers)),
		Webhooks:  make([]WebhookDefinition, len(have.Webhooks)),
	}
	for i := range have.Clients {
		d.Clients[i] = ClientDefinition{have.Clients[i]}
	}
	for i := range have.Topics {
		d.Topics[i] = TopicDefinition{have.Topics[i]}
	}
	for i := range have.Producers {
		d.Producers[i] = ProducerDefinition{have.Producers[i]}
	}
	for i := range have.Consumers {
		d.Consumers[i] = ConsumerDefinition{have.Consumers[i]}
	}
	for i := range have.Webhooks {
		d.Webhooks[i] = WebhookDefinition{have.Webhooks[i]}
	}
	b, err := gate.Marshal(d)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = json.Indent(&out, b, "", "  ")
	return out.Bytes(), err
}
