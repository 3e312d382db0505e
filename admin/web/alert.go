package web

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"pipit/admin/alert"
	"pipit/admin/audit"
	"pipit/admin/gate"
)

// alertPages are the page of alerts, and the test that it sends.
type alertPages struct{ *Site }

const alertsPath = "/admin/alerts"

// maxFiring is how many alerts the page shows.
const maxFiring = 200

func (ap alertPages) routes() []gate.Route {
	return []gate.Route{
		gate.Get(alertsPath, ap.pageAlerts, gate.Read),
		gate.Post(alertsPath+"/test", ap.postTest, gate.Write),
	}
}

type alertsPage struct {
	alert.State
	MaxSent int
	Tested  []alert.Tested // what came of the test that was asked for
}

func (ap alertPages) pageAlerts(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	return ap.show(w, r, nil)
}

func (ap alertPages) show(w http.ResponseWriter, r *http.Request, tested []alert.Tested) error {
	v := view{Title: "Alerts", Nav: "alerts", Data: alertsPage{ap.Alerts.State(maxFiring), alert.MaxSent, tested}}
	var failed []string
	for _, t := range tested {
		if t.Error != "" {
			failed = append(failed, fmt.Sprintf("%s to %s: %s", t.Receiver, t.Target, t.Error))
		}
	}
	switch {
	case len(failed) > 0:
		v.Error = "The test failed. " + strings.Join(failed, "; ")
	case len(tested) > 0:
		v.Notice = "The test was sent."
	}
	return ap.render(w, r, "alerts", http.StatusOK, v)
}

func (ap alertPages) postTest(w http.ResponseWriter, r *http.Request, _ gate.Params) error {
	if _, err := readForm(w, r); err != nil {
		return err
	}
	gate.Patient(w, alert.TestTime+time.Minute)
	tested, err := ap.Alerts.Test(r.Context())
	if err != nil {
		return err
	}
	ap.Trail.Note(r.Context(), gate.ActorOf(r.Context()), audit.AlertTest, "")
	return ap.show(w, r, tested)
}
