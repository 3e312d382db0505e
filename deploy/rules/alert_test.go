package rules

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/alertmanager/template"
	"github.com/prometheus/common/model"
)

// message is what Alertmanager posts: its own data, and what notify/webhook has beside, which would bring the clients of all its receivers.
type message struct {
	*template.Data
	Version         string `json:"version"`
	GroupKey        string `json:"groupKey"`
	TruncatedAlerts uint64 `json:"truncatedAlerts"`
}

// TestAlertBody: what the program posts of alerts is what Alertmanager posts, and its templates make the usual title of it. A test of the
// program keeps testdata/alert.json as it is.
func TestAlertBody(t *testing.T) {
	body, err := os.ReadFile("testdata/alert.json")
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	var m message
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	if m.Version != "4" || m.GroupKey == "" || m.Status != "firing" || len(m.Alerts.Firing()) != 1 || len(m.Alerts.Resolved()) != 1 {
		t.Errorf("%+v", m)
	}
	for _, a := range m.Alerts {
		labels := model.LabelSet{}
		for name, value := range a.Labels {
			labels[model.LabelName(name)] = model.LabelValue(value)
		}
		if err := labels.Validate(); err != nil || labels.Fingerprint().String() != a.Fingerprint || a.StartsAt.IsZero() || a.EndsAt.IsZero() != (a.Status == "firing") {
			t.Errorf("%v: %+v", err, a)
		}
	}
	tmpl, err := template.FromGlobs(nil) // its own ones
	if err != nil {
		t.Fatal(err)
	}
	title, err := tmpl.ExecuteTextString(`{{ template "slack.default.title" . }}`, m.Data)
	if err != nil || !strings.HasPrefix(title, "[FIRING:1] ") {
		t.Errorf("%q, %v", title, err)
	}
}
