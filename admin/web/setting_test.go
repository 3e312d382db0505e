package web

import (
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
)

func TestSettingText(t *testing.T) {
	for _, tt := range []struct {
		value any
		unit  string
		want  string
	}{
		{"", "", ""},
		{"https://example.com/", "", "https://example.com/"},
		{int64(0), "seconds", "off"},
		{int64(3660), "seconds", "1h1m"},
		{int64(1_000_000), "", "1,000,000"},
		{int64(5), "attempts", "5 attempts"},
		{time.Duration(0), "", "off"},
		{90 * time.Second, "", "1m30s"},
		{property.Size(0), "", "off"},
		{property.Size(64 << 20), "", "64MiB"},
		{property.Durations{}, "", ""},
		{property.DurationsOf(time.Second, time.Hour), "", "1s\n1h"},
		{property.TextsOf("a", "b c"), "", "a\nb c"},
		{property.TableOf(map[string]string{"X-B": "2", "X-A": "1"}), "", "X-A: 1\nX-B: 2"},
	} {
		if got := settingText(tt.value, tt.unit); got != tt.want {
			t.Errorf("%#v: %q, want %q", tt.value, got, tt.want)
		}
	}
}

// A secret text that an edit leaves empty stays as it is, and no page has it.
func TestSecretSettings(t *testing.T) {
	c := broker.Client{Username: "crm", Password: "opensesame"}
	f := newForm("client", "", "", settingFields(broker.ClientFields, &c, false)...)
	if x := f.field("password"); x.Value != "" || x.Hint != "Empty: it stays as it is" || x.Required {
		t.Errorf("%+v", x)
	}
	if err := readSettings(f, broker.ClientFields, &c); err != nil || c.Password != "opensesame" {
		t.Error(c.Password, err)
	}
	for _, s := range settings(broker.ClientFields, &c, nil) {
		if s.Text == "opensesame" || s.Name == "password" && !s.Secret {
			t.Errorf("%+v", s)
		}
	}
}
