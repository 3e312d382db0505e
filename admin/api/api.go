// Package api is the REST API of administration: its routes, what they read of a request and what they answer, and the
// document that describes them. Whether a request may come in is decided before, by admin.
//
// Bodies and queries are read strictly: what is misspelled, given twice or not known is refused.
package api

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"pipit/admin/access"
	"pipit/admin/alert"
	"pipit/admin/audit"
	"pipit/admin/gate"
	"pipit/admin/monitor"
	"pipit/admin/object"
	"pipit/backup"
	"pipit/broker"
	"pipit/broker/clip"
	"pipit/httpapi/callback"
)

// API is the REST API: what its routes need. It holds no state of its own.
type API struct {
	Broker    *broker.Broker
	Objects   *object.Objects
	Users     *access.Users
	Trail     *audit.Log
	Monitor   *monitor.Monitor
	Reach     *gate.Reach
	Version   string
	Started   time.Time
	Settings  func() []gate.Setting // the configuration in force
	Callbacks *callback.Service     // who sends messages; nil: another process does, or nobody
	Backups   *backup.Service       // who makes backups; nil: nobody in this process
	Alerts    *alert.Service        // who is told of what needs attention
	LastLines func() []byte         // of the log, for the bundle; nil: debugging is off
	Head      func() any            // what the bundle has of the head of the database's file; nil: nothing
	Cluster   monitor.Cluster       // that this process leads; nil: it is of none
}

// Routes returns the routes of the API. openapi.json describes each of them.
func (a *API) Routes() []gate.Route {
	return slices.Concat(
		resourceOf(a.Objects.Clients()).routes(),
		resourceOf(a.Objects.Topics()).routes(),
		resourceOf(a.Objects.Producers()).routes(),
		resourceOf(a.Objects.Consumers()).routes(),
		resourceOf(a.Objects.Webhooks()).routes(),
		a.queueRoutes(),
		a.callbackRoutes(),
		a.messageRoutes(),
		a.statsRoutes(),
		a.definitionRoutes(),
		undoRoutes(a.Objects),
		a.backupRoutes(),
		alerting{a}.routes(),
		a.systemRoutes(),
		clustering{a}.routes(),
		debugging{a}.routes(),
		[]gate.Route{gate.Get(gate.V1+"/openapi.json", a.openAPI, gate.Read)},
	)
}

func noQuery(r *http.Request) error {
	_, err := parseQuery(r)
	return err
}

// pathSegment escapes a name for a path of the API. Clients take "." and ".." for steps; escaped, most
// do not.
func pathSegment(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

// reply answers with a value as JSON.
func reply(w http.ResponseWriter, status int, v any) error {
	body, err := gate.Marshal(v)
	if err != nil {
		return err
	}
	return replyJSON(w, status, body)
}

func replyJSON(w http.ResponseWriter, status int, body []byte) error {
	body = append(body, '\n')
	w.Header().Set("Content-Type", TypeJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // who loads much can see how far it is
	w.WriteHeader(status)
	_, _ = w.Write(body) // #nosec G705 -- JSON, which nosniff keeps it; who has left does not read it
	return nil
}

// etag is that of an object's answer. It changes with anything in it, since counters do so without
// a new revision; an edit compares the revision alone.
func etag(revision string, body []byte) string {
	sum := sha256.Sum256(body)
	return `"` + revision + "." + hex.EncodeToString(sum[:6]) + `"`
}

// tagRevision returns the revision that a tag was made of. A revision itself will do.
func tagRevision(tag string) string {
	tag = strings.Trim(strings.TrimPrefix(tag, "W/"), `"`)
	revision, _, _ := strings.Cut(tag, ".")
	return revision
}

// ifMatch returns the revision that a change is meant for, "*" for any that exists, empty where it
// does not say.
func ifMatch(r *http.Request) (string, error) {
	tag := strings.TrimSpace(strings.Join(r.Header.Values("If-Match"), ","))
	if strings.Contains(tag, ",") {
		return "", gate.Malformed("If-Match %q: allowed is one ETag, or *", clip.Input(tag))
	}
	if tag == "" || tag == "*" {
		return tag, nil
	}
	revision := tagRevision(tag)
	if revision == "" || revision == "*" {
		return "", gate.Malformed("If-Match %q: allowed is one ETag, or *", clip.Input(tag))
	}
	return revision, nil
}

func ifNoneMatch(r *http.Request, tag string) bool {
	for t := range strings.SplitSeq(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
			return true
		}
	}
	return false
}
