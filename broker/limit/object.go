package limit

import (
	"time"

	"pipit/broker/history"
	"pipit/broker/property"
)

// Defaults of Options.
const (
	DefaultMaxPayload = 1 << 20
	DefaultMaxPending = 256 << 20

	DefaultHistory         = history.DefaultKeep
	DefaultHistoryMessages = history.DefaultMessages
	MaxHistory             = history.MaxKeep
	MaxHistoryMessages     = history.MaxMessages
)

// Defaults and limits of callbacks.
const (
	DefaultCallbackBatch   = 100
	DefaultCallbackTimeout = 15 * time.Second
	DefaultCallbackGiveUp  = 24 * time.Hour

	MinCallbackTimeout     = 100 * time.Millisecond
	MaxCallbackTimeout     = 10 * time.Minute
	MinCallbackRetry       = 10 * time.Millisecond
	MaxCallbackRetry       = 24 * time.Hour
	MaxCallbackConcurrency = 64
	MaxCallbackGiveUp      = 365 * 24 * time.Hour
	MaxCallbackURL         = 2048 // bytes
)

// Limits of names; that of passwords is login.MaxPassword.
const (
	MaxUsername = 128 // bytes
	MaxName     = 256 // bytes

	MaxRate       = 1_000_000_000 // messages a second of a client
	MaxByteRate   = 1 << 40       // bytes a second
	MaxMaxWaiting = 1_000_000     // long polls and streams at a time
)

// Defaults and limits of consumers.
const (
	DefaultMaxInFlight = 10_000
	DefaultAckTimeout  = 30 * time.Second

	MaxMaxInFlight = 1_000_000
	MinAckTimeout  = time.Second
	MaxAckTimeout  = 24 * time.Hour
	MaxSubKey      = 128 // bytes

	MaxConsumerName = 64 // characters
)

// Limits of documents.
const (
	MaxDocumentKind  = 64       // bytes
	MaxDocumentKey   = 256      // bytes
	MaxDocumentValue = 64 << 10 // bytes
)

// Limits of what a consumer does with messages that fail.
const (
	MaxMaxDeliveries = 1_000_000
	MaxBackoff       = 7 * 24 * time.Hour // a wait of Consumer.RetryBackoff
)

// MaxFaults is how many faults of a Definition are told.
const MaxFaults = 20

// MaxOverlap is for how long a SubKey stays good at the most once another one has taken its place.
const MaxOverlap = 30 * property.Day

// MaxSubscriptions is how many consumers a client may have made by itself.
const MaxSubscriptions = 100

// Limits of templates.
const (
	DefaultMaxTopics = 1000
	MaxMaxTopics     = 1_000_000
)

// Defaults and limits of topics.
const (
	DefaultExpiration  = 60        // seconds
	DefaultMaxDepth    = 1_000_000 // messages, of a topic and of a consumer
	DefaultDedupWindow = 5 * time.Minute

	MaxTopicName   = 512                      // bytes
	MaxExpiration  = 100 * 365 * 24 * 60 * 60 // seconds
	MaxDedupWindow = 30 * 24 * time.Hour      // bounds the memory of explicit IDs
	MaxMaxDepth    = 1_000_000_000_000        // messages

	MaxRetention      = 10 * 365 * 24 * time.Hour
	MaxRetentionBytes = 1 << 50
)

// Limits of webhooks.
const (
	MaxWebhookName    = 64  // bytes
	MaxWebhookSecret  = 512 // bytes
	MaxWebhookHeaders = 20  // that become attributes
	MaxHeaderName     = 64  // bytes
)
