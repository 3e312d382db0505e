package admin

import (
	"slices"
	"time"

	"pipit/admin/access"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/broker"
)

// Site is the web pages: what they need. It holds no state of its own.
type Site struct {
	Broker   *broker.Broker
	Objects  *object.Objects
	Users    *access.Users
	Trail    *audit.Log
	Monitor  *monitor.Monitor
	Reach    *gate.Reach
	Version  string
	Started  time.Time
	Settings func() []gate.Setting // the configuration in force
}

// Routes are the routes of the web pages.
func (s *Site) Routes() []route {
	templates() // a fault in what is embedded shows at the start
	assets()
	return slices.Concat(
		[]route{gate.Get("/admin/assets/*file", pageAsset, public)},
		overviewPages{s}.routes(),
		loginPages{s}.routes(),
		topicPages{s}.pages().routes(),
		clientPages{s}.pages().routes(),
		producerPages{s}.pages().routes(),
		consumerPages{s}.pages().routes(),
		consumerPages{s}.queueRoutes(),
		messagePages{s}.routes(),
		systemPages{s}.routes(),
		accessPages{s}.routes(),
	)
}
