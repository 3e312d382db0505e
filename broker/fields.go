package broker

// The properties of each kind of object: forms, flags, schemas and files follow from them.
var (
	ClientFields   = clientFields
	TopicFields    = topicFields
	ProducerFields = producerFields
	ConsumerFields = consumerFields
	WebhookFields  = webhookFields
)
