package config

import (
	"time"

	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/admin/monitor"
	"pipit/backup"
	"pipit/broker"
	"pipit/broker/limit"
	"pipit/broker/property"
	"pipit/httpapi"
	"pipit/httpapi/callback"
	"pipit/metrics"
	"pipit/tracing"
)

var attention = &monitor.DefaultThresholds

// defaults is what holds where nothing is configured. The one element of Client and so on is what each begins as.
var defaults = Config{
	HTTP: HTTP{
		Listen:         []string{"127.0.0.1:11223", "127.0.0.1:17010"},
		MaxPayload:     limit.DefaultMaxPayload,
		MaxBatch:       httpapi.DefaultMaxBatch,
		MaxPending:     limit.DefaultMaxPending,
		MaxReplies:     httpapi.DefaultMaxReplies,
		MinBodyRate:    httpapi.DefaultMinBodyRate,
		MaxConnections: 10_000,
		IdleTimeout:    httpapi.DefaultIdleTimeout,
	},
	Admin:     Admin{Enabled: true, SessionIdle: access.DefaultSessionIdle, SessionLife: access.DefaultSessionLife},
	Database:  Database{File: "pipit.db", Sync: SyncAlways, SyncInterval: 100 * time.Millisecond, LogSize: 64 << 20, CompactWhen: 0.5, MinFree: 256 << 20},
	Backup:    Backup{Keep: backup.DefaultKeep},
	History:   History{Keep: limit.DefaultHistory, MaxMessages: limit.DefaultHistoryMessages},
	Callbacks: Callbacks{MaxConcurrency: callback.DefaultMaxConcurrency},
	Metrics:   Metrics{Enabled: true, PerObjectLimit: metrics.DefaultPerObjectLimit},
	Tracing:   Tracing{Sample: 1, ServiceName: tracing.DefaultService},
	Attention: Attention{Full: attention.Full, Away: attention.Away, Failing: attention.Failing, InFlight: attention.InFlight, Refused: attention.Refused,
		Redelivered: attention.Redelivered, Certificate: attention.Certificate, DiskPercent: attention.DiskPercent, DiskFree: property.Size(attention.DiskFree),
		NodeAway: attention.NodeAway, NodeLag: attention.NodeLag},
	Alerts:   Alerts{Wait: alert.DefaultWait, Interval: alert.DefaultInterval, Repeat: alert.DefaultRepeat, Mute: []string{monitor.CodeUnsynced}},
	Cluster:  Cluster{ForwardWait: 5 * time.Second, Heartbeat: time.Second, LogSize: 64 << 20},
	Log:      Log{Level: "info", Format: "auto", MaxSize: 100 << 20, MaxFiles: 10},
	Client:   []broker.Client{broker.ClientFields.New()},
	Topic:    []broker.Topic{broker.TopicFields.New()},
	Producer: []broker.Producer{broker.ProducerFields.New()},
	Consumer: []broker.Consumer{broker.ConsumerFields.New()},
	Webhook:  []broker.Webhook{broker.WebhookFields.New()},
}
