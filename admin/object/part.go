package object

import "pipit/admin/gate"

// Keys of the parts that lists of each noun can be asked for.
var (
	ClientParts   = gate.PartKeys(clientParts...)
	TopicParts    = gate.PartKeys(new(Objects).topicParts()...)
	ProducerParts = gate.PartKeys(producerParts...)
	ConsumerParts = gate.PartKeys(new(Objects).consumerParts()...)
	WebhookParts  = gate.PartKeys(webhookParts...)
)
