package httpapi

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestOpenAPIDescribesRoutes holds the description that admin gives of the protocol and the router to each other, in both
// directions. What is admin's own, a test there does.
func TestOpenAPIDescribesRoutes(t *testing.T) {
	text, err := os.ReadFile("../admin/api/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var description struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(text, &description); err != nil {
		t.Fatal(err)
	}
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
