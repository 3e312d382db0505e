// Package web is the web pages of administration: their routes, what they show and the forms that they read, with the
// templates and assets that they are made of. Whether a request may come in is decided before, by admin.
//
// A noun that has a list, a page, an edit and a deletion has them from pages, which it tells what is its own; what else
// there is has handlers of its own, by area, in types of what a Site has. The fields of a form are those of the noun's
// table in broker.
//
// It has more than 4,000 lines, since all pages are made of the same forms, lists and templates; each area has a file of its
// own, which knows nothing of the others.
//
// What loses nothing asks nothing. What loses something asks once more, in one of two ways: by a red button, in what unfolds or on
// a page that shows all that goes; and by typing a name or a number, where more goes than is shown. TestAsking keeps that.
//
// One word for one thing: an object or message is deleted, a backlog cleared, a token or key revoked, a session signed out.
//
// Handlers return an error. Where it is about what was typed, the form is shown again with it; else ErrorPage writes it.
package web

import (
	"slices"
	"time"

	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/backup"
	"pipit/broker"
	"pipit/httpapi/callback"
)

// Site is the web pages: what they need. The only state of its own is what it shows once, for some minutes.
type Site struct {
	Broker    *broker.Broker
	Objects   *object.Objects
	Users     *access.Users
	Trail     *audit.Log
	Monitor   *monitor.Monitor
	Reach     *gate.Reach
	Callbacks *callback.Service // who sends messages; nil: nobody does in this process
	Backups   *backup.Service   // who makes backups; nil: nobody in this process
	Alerts    *alert.Service    // who is told of what needs attention
	Cluster   monitor.Cluster   // that this process leads; nil: it is of none
	Version   string
	Started   time.Time
	Settings  func() []gate.Setting // the configuration in force

	once  shelf
	plans shelf // of documents of definitions
}

// Routes are the routes of the web pages.
func (s *Site) Routes() []gate.Route {
	templates() // a fault in what is embedded shows at the start
	assets()
	s.plans.most = maxPlans
	return slices.Concat(
		[]gate.Route{gate.Get("/admin/assets/*file", pageAsset, gate.Public)},
		overviewPages{s}.routes(),
		connectPages{s}.routes(),
		searchPages{s}.routes(),
		loginPages{s}.routes(),
		topicPages{s}.pages().routes(),
		clientPages{s}.pages().routes(),
		producerPages{s}.pages().routes(),
		consumerPages{s}.pages().routes(),
		consumerPages{s}.queueRoutes(),
		webhookPages{s}.pages().routes(),
		messagePages{s}.routes(),
		systemPages{s}.routes(),
		backupPages{s}.routes(),
		alertPages{s}.routes(),
		clusterPages{s}.routes(),
		definitionPages{s}.routes(),
		accessPages{s}.routes(),
	)
}
