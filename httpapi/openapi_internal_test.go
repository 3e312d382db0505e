package httpapi

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestOpenAPIDescribesRoutes holds the description that admin gives of the protocol and the router to each other, in both
// directions. What is admin's own, a test there does.
func TestOpenAPIDescribesRoutes(t *testing.T) {
	var description struct {
		Paths map[string]map[string]json.RawMessage
	}
	readDescription(t, &description)
	// The names of parameters may differ, and a slash at the end of a path is optional.
	parameter := regexp.MustCompile(`[*{][^/]*`)
	normal := func(method, path string) string {
		return strings.ToUpper(method) + " " + parameter.ReplaceAllString(strings.TrimSuffix(path, "/"), "{}")
	}
	described := map[string]bool{}
	for path, operations := range description.Paths {
		for method := range operations {
			if !strings.HasPrefix(path, "/admin/") {
				described[normal(method, path)] = true
			}
		}
	}
	routes := map[string]bool{}
	for _, rt := range (&server{}).routes() {
		k := normal(rt.method, rt.path)
		routes[k] = true
		if !described[k] {
			t.Errorf("%s is not described", k)
		}
	}
	for k := range described {
		if !routes[k] {
			t.Errorf("%s is described, and no route", k)
		}
	}
}

// The description knows the parameters that the router takes, and no others.
func TestOpenAPIDescribesParameters(t *testing.T) {
	var description struct {
		Paths map[string]map[string]struct {
			Parameters []struct{ In, Name string }
		}
	}
	readDescription(t, &description)
	for _, c := range []struct {
		method, path string
		want         []string
	}{
		{"post", "/zato/pubsub/topic/{topic}", publishParams},
		{"delete", "/zato/pubsub/msg/{key}", settleParams},
	} {
		described := []string{}
		for _, p := range description.Paths[c.path][c.method].Parameters {
			if p.In == "query" && p.Name != "format" {
				described = append(described, p.Name)
			}
		}
		slices.Sort(described)
		if want := slices.Sorted(slices.Values(c.want)); !slices.Equal(described, want) {
			t.Errorf("%s %s: described %v, taken %v", c.method, c.path, described, want)
		}
	}
}

// readDescription reads what admin describes the protocol with.
func readDescription(t *testing.T, into any) {
	t.Helper()
	text, err := os.ReadFile("../admin/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}
