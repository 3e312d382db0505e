package acceptance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// All definitions are exported and imported within six clicks from the overview: choosing the file is one of them.
func TestBrowserDefinitions(t *testing.T) {
	browses(t)
	s := newSite(t, true)
	s.example()
	tab := s.profile().signIn()
	clicks := 0
	click := func(selector string) {
		t.Helper()
		clicks++
		tab.follow(selector)
	}
	click("#nav-system")
	click("#definitions")
	tab.inspect("definitions")
	text := eval[string](tab, `() => fetch(document.querySelector("#download").href).then(r => r.text())`)
	clicks++ // Download
	file := filepath.Join(t.TempDir(), "definitions.json")
	if err := os.WriteFile(file, []byte(strings.NewReplacer("/orders", "/orders/eu", "key-of-erp", "key-of-erp-eu").Replace(text)), 0o600); err != nil {
		t.Fatal(err)
	}
	clicks++
	tab.do(chromedp.SetUploadFiles(chromedp.CSS("#import-file"), []string{file}))
	click("#import button")
	tab.sees("to be created", "/orders/eu")
	tab.inspect("a plan of definitions")
	click("#apply button")
	tab.sees("What was done")
	if clicks > 6 {
		t.Errorf("%d clicks", clicks)
	}
	if _, ok := s.b.Topic("/orders/eu"); !ok {
		t.Error("nothing was imported")
	}
}
