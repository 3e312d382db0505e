package fieldflag

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"pipit/broker/property"
)

// A flag sends what the API reads of its kind, and refuses what is none.
func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		byDefault any
		args      []string
		want      string
	}{
		{int64(1), []string{"--max-x=5"}, `{"max_x":5}`},
		{"", nil, `{}`},
		{time.Minute, []string{"--max-x", "1d12h"}, `{"max_x":"36h0m0s"}`},
		{time.Minute, []string{"--max-x=45"}, `{"max_x":"45s"}`},
		{time.Minute, []string{"--max-x=-1s"}, ""},
		{Seconds(60), []string{"--max-x", "7d"}, `{"max_x":604800}`},
		{Seconds(60), []string{"--max-x=0"}, `{"max_x":0}`},
		{Seconds(60), []string{"--max-x=1500ms"}, ""},
		{property.Size(0), []string{"--max-x", "64MiB"}, `{"max_x":67108864}`},
		{property.Size(0), []string{"--max-x", "64MB"}, ""},
		{property.DurationsOf(time.Hour), []string{"--max-x", "5s,1m", "--max-x=30"}, `{"max_x":["5s","1m0s","30s"]}`},
		{property.DurationsOf(time.Hour), []string{"--max-x="}, `{"max_x":[]}`},
		{property.Durations{}, []string{"--max-x", "5s,soon"}, ""},
		{property.TextsOf("x"), []string{"--max-x", "a,b", "--max-x", `"c,d"`}, `{"max_x":["a","b","c,d"]}`},
		{property.TextsOf("x"), []string{"--max-x="}, `{"max_x":[]}`},
		{property.Table{}, []string{"--max-x", "B=2, 3=4", "--max-x", "A="}, `{"max_x":{"A":"","B":"2, 3=4"}}`},
		{property.TableOf(map[string]string{"A": "1"}), []string{"--max-x="}, `{"max_x":{}}`},
		{property.Table{}, []string{"--max-x", "B"}, ""},
		{property.Table{}, []string{"--max-x", "B=1", "--max-x", "B=2"}, ""},
	} {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		add(flags, "max-x", tt.byDefault, "help")
		err := flags.Parse(tt.args)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%q is taken", tt.args)
			}
			continue
		}
		body, _ := json.Marshal(Body(flags))
		if err != nil || string(body) != tt.want {
			t.Errorf("%q: %s, %v; want %s", tt.args, body, err, tt.want)
		}
	}
}
