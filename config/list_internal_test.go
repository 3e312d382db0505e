package config

import (
	"strings"
	"testing"
	"time"

	"pipit/broker"
	"pipit/broker/property"
)

// Lists, tables and sizes are read from a file and from variables, and an error names the item.
func TestConfigLists(t *testing.T) {
	for _, tt := range []struct {
		raw  any // of the file, or of a variable where it is a variable
		want any
		err  string
	}{
		{[]any{"5s", "1m"}, property.DurationsOf(5*time.Second, time.Minute), ""},
		{"5s", property.DurationsOf(5 * time.Second), ""},
		{variable{value: "5s, 1m"}, property.DurationsOf(5*time.Second, time.Minute), ""},
		{variable{value: ""}, property.Durations{}, ""},
		{[]any{"5s", "soon"}, property.Durations{}, `"soon" (item 2): allowed is a list of durations such as ["30s", "5m"]`},
		{[]any{"5s", int64(5)}, property.Durations{}, `5 (item 2): allowed is a list of durations such as ["30s", "5m"]`},
		{true, property.Durations{}, `true: allowed is a list of durations such as ["30s", "5m"]`},
		{[]any{"a", "b, c"}, property.TextsOf("a", "b, c"), ""},
		{"a, b", property.TextsOf("a, b"), ""},
		{variable{value: "a, b,"}, property.TextsOf("a", "b"), ""},
		{[]any{"a", "b\n"}, property.Texts{}, `"b\n": it ends with \n, and control characters are not allowed`},
		{[]any{"a", 1.5}, property.Texts{}, `1.5 (item 2): allowed is a list of texts in quotes, or one text`},
		{map[string]any{"A": "1", "B": "2, 3"}, property.TableOf(map[string]string{"A": "1", "B": "2, 3"}), ""},
		{variable{value: "A=1, B = 2=3"}, property.TableOf(map[string]string{"A": "1", "B": "2=3"}), ""},
		{variable{value: `{A = "1, 2", B = '3'}`}, property.TableOf(map[string]string{"A": "1, 2", "B": "3"}), ""},
		{variable{value: ""}, property.Table{}, ""},
		{variable{value: "A=1,A=2"}, property.Table{}, `"A=1,A=2": allowed is a table of texts such as {Name = "value"}`},
		{variable{value: "{A = 1}"}, property.Table{}, `1 (of "A"): allowed is a table of texts such as {Name = "value"}`},
		{map[string]any{"A": "1", "B": int64(2)}, property.Table{}, `2 (of "B"): allowed is a table of texts such as {Name = "value"}`},
		{map[string]any{"A\x00": "1"}, property.Table{}, `"A\x00": it holds \x00, and control characters are not allowed`},
		{int64(512), property.Size(512), ""},
		{"64MiB", property.Size(64 << 20), ""},
		{variable{value: "64MiB"}, property.Size(64 << 20), ""},
		// Of what is no list or table, none of it is an item.
		{[]any{"/a"}, "", `[/a]: allowed is a text in quotes`},
		{[]any{int64(5)}, int64(0), `[5]: allowed is a whole number`},
		{map[string]any{"A": int64(5)}, int64(0), `map[A:5]: allowed is a whole number`},
		{"64MB", property.Size(0), `"64MB": allowed is a size in bytes, KiB, MiB, GiB or TiB, such as 65536 or "64KiB"`},
	} {
		var put any
		like := tt.want
		f := field{get: func() any { return like }, put: func(v any) { put = v }}
		var err error
		if v, ok := tt.raw.(variable); ok {
			err = f.setText(v.value)
		} else {
			err = f.set(tt.raw)
		}
		if tt.err != "" {
			if err == nil || err.Error() != tt.err || put != nil {
				t.Errorf("%v: %v, want %s", tt.raw, err, tt.err)
			}
		} else if err != nil || put != tt.want {
			t.Errorf("%v is %#v, %v", tt.raw, put, err)
		}
		f.secret = true
		if err := f.set([]any{"hush", 1}); err == nil || err.Error()[:8] != "a value " {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}

// A webhook is told by the file and by variables alike, and what is wrong with one by line.
func TestConfigWebhooks(t *testing.T) {
	const file = `[[webhook]]
name = "shop"
topic = "/order/paid"
client = "crm"
verify = "shopify"
secret = "hush!"
headers = ["X-Shopify-Topic"]
allow_from = ["192.0.2.0/24", "2001:db8::1"]
`
	c, err := Read(writeConfig(t, file), []string{"PIPIT_WEBHOOK_0_SECRET=old,new", "PIPIT_WEBHOOK_0_IS_ACTIVE=false", "PIPIT_WEBHOOK_0_ID_HEADER=X-Id"})
	want := broker.Webhook{Name: "shop", Topic: "/order/paid", Client: "crm", Verify: broker.VerifyShopify, Inactive: true, Algorithm: "sha256", Encoding: "hex",
		Secret: property.TextsOf("old", "new"), IDHeader: "X-Id", Headers: property.TextsOf("X-Shopify-Topic"), AllowFrom: property.TextsOf("192.0.2.0/24", "2001:db8::1")}
	if err != nil || len(c.Webhook) != 1 || c.Webhook[0] != want {
		t.Fatalf("%+v, %v", c, err)
	}
	for change, wanted := range map[string]string{
		`name = "a/b"`:                  `:2: webhook.name = "a/b": allowed are 1 to 64 of A-Z a-z 0-9 . _ -, no dot in front`,
		`verify = "paypal"`:             `:5: webhook.verify = "paypal": allowed are github, gitlab, hmac, none, shopify, slack, standard-webhooks, stripe, token`,
		`verify = "none"`:               `:6: webhook.secret: allowed is none, since nothing is verified by it`,
		`verify = "standard-webhooks"`:  `:6: webhook.secret: item 1: allowed is whsec_ and the key in base64`,
		`verify = "hmac"`:               `webhook.header: it is missing: which has the signature`,
		`secret = ["a", "b", "c"]`:      `:6: webhook.secret: allowed are at most 2, got 3`,
		`secret = []`:                   `:6: webhook.secret: it is missing`,
		`allow_from = ["192.0.2.0/33"]`: `:8: webhook.allow_from = "192.0.2.0/33" (item 1): allowed are networks such as 192.0.2.0/24, or addresses`,
		`headers = ["a b"]`:             `:7: webhook.headers = "a b" (item 1): allowed are at most 64 of A-Z a-z 0-9 . _ -`,
	} {
		key, _, _ := strings.Cut(change, " ")
		lines := strings.Split(file, "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, key+" ") {
				lines[i] = change
			}
		}
		if _, err := Load(writeConfig(t, strings.Join(lines, "\n")), nil); err == nil || !strings.Contains(err.Error(), wanted) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want %s", change, err, wanted)
		}
	}
}
