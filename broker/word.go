package broker

// What properties and reasons that are words can be.
const (
	// How a consumer gets its messages.
	DeliveryPull     = "pull"         // it receives them
	DeliveryCallback = "callback-url" // they are sent to its CallbackURL

	// What a callback looks like.
	FormatJSON        = "json"        // the document that a receive returns
	FormatXML         = "xml"         // the same as XML
	FormatRaw         = "raw"         // one payload, its metadata in headers
	FormatCloudEvents = "cloudevents" // one payload, in the binary mode of CloudEvents 1.0

	// Where a new consumer begins. The first one of a topic begins at the oldest message in any case.
	StartNew    = "new"    // behind the newest message
	StartTail   = "tail"   // the same
	StartOldest = "oldest" // at the oldest message that is stored

	// What Consumer.Overflow and Consumer.OnExpiry can be.
	OverflowReject     = "reject"      // a publish is refused: Full
	OverflowDropOldest = "drop-oldest" // the consumer is done with its oldest messages
	OverflowDeadLetter = "dead-letter" // they move to its dead-letter topic
	ExpiryDrop         = "drop"        // it is done with them
	ExpiryDeadLetter   = "dead-letter" // they move to its dead-letter topic

	// Why a message was moved to a dead-letter topic: DeadLetter.Reason.
	ReasonMaxDeliveries = "max_deliveries" // it was delivered as often as the consumer allows
	ReasonRejected      = "rejected"       // the consumer rejected it for good
	ReasonExpired       = "expired"        // it expired before the consumer was done with it
	ReasonOverflow      = "overflow"       // the consumer's backlog was full

	// How a call of a webhook is known to be its sender's.
	VerifyStandard = "standard-webhooks"
	VerifyGitHub   = "github"
	VerifyGitLab   = "gitlab"
	VerifyStripe   = "stripe"
	VerifyShopify  = "shopify"
	VerifySlack    = "slack"
	VerifyHMAC     = "hmac"
	VerifyToken    = "token"
	VerifyNone     = "none" // by its address alone
)
