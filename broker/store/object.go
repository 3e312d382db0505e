package store

// Object is a client, topic, producer, consumer, queue or webhook as it is kept.
type Object struct {
	Kind   ObjectKind
	Key    string // no other object of its Kind has it; that of an object with an ID may change
	ID     uint32 // its number for life, which no other object ever has; 0: it has none
	Value  []byte // JSON; its member ID is the ID
	Secret bool   // what it replaces or deletes is not to stay on the disk: see Wiper
}

// ObjectKind tells objects with the same Key apart.
type ObjectKind string

const (
	Client   ObjectKind = "client"   // its Key is the username
	Topic    ObjectKind = "topic"    // the name
	Producer ObjectKind = "producer" // the client's username, a byte 0, the topic's name
	Consumer ObjectKind = "consumer" // the sub_key
	Queue    ObjectKind = "queue"    // one of several of a consumer: the numbers of the consumer and of the topic
	Webhook  ObjectKind = "webhook"  // the name
)

// Document is something small that a part of the program keeps with the messages.
type Document struct {
	Kind, Key string // neither empty nor with a byte 0, at most 64 and 256 bytes
	Value     []byte // at most 64 KiB; that of a probe up to 1 MiB
	Secret    bool   // what it replaces or deletes is not to stay on the disk: see Wiper

	// Committed, where there is one, is called once the document is durable, before who put it is answered. The
	// next commit waits for it: it must take no lock that is held over I/O.
	Committed func()
}
