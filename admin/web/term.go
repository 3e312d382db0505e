package web

import (
	"regexp"
	"strings"

	"pipit/broker/clip"
)

// terms are the words of pages that need a sentence.
var terms = map[string]string{
	"Depth":     "Messages in the topic that at least one consumer is not done with. Those that wait for their delay count apart.",
	"Backlog":   "Messages that a consumer is not done with: they wait, or are in flight or deferred.",
	"In flight": "Messages that were delivered and are neither acknowledged nor given back.",
	"Deferred":  "Messages that were rejected with a delay, until it is over.",
	"Delayed":   "Messages that were published with a delay: nobody gets them until it is over.",
}

// browsers and systems are how a User-Agent tells what it is of. Most browsers call themselves others as well: the first that is found is
// right.
var (
	browsers = []struct {
		name    string
		version *regexp.Regexp
	}{
		{"Edge", regexp.MustCompile(`Edg(?:e|A|iOS)?/(\d+)`)},
		{"Opera", regexp.MustCompile(`OPR/(\d+)`)},
		{"Firefox", regexp.MustCompile(`(?:Firefox|FxiOS)/(\d+)`)},
		{"Chrome", regexp.MustCompile(`(?:Chrome|CriOS|Chromium)/(\d+)`)},
		{"Safari", regexp.MustCompile(`Version/(\d+)\S* (?:Mobile/\S+ )?Safari/`)},
	}
	systems = []struct{ mark, name string }{
		{"Android", "Android"}, {"iPhone", "iOS"}, {"iPad", "iPadOS"}, {"Windows", "Windows"}, {"CrOS", "ChromeOS"}, {"Macintosh", "macOS"}, {"Linux", "Linux"}, {"FreeBSD", "FreeBSD"},
	}
)

// browserName is what a User-Agent is of, as people call it: "Chrome 156 on Linux". What is no browser is called as it calls itself.
func browserName(agent string) string {
	for _, b := range browsers {
		m := b.version.FindStringSubmatch(strings.Replace(agent, "Headless", "", 1))
		if m == nil {
			continue
		}
		for _, s := range systems {
			if strings.Contains(agent, s.mark) {
				return b.name + " " + m[1] + " on " + s.name
			}
		}
		return b.name + " " + m[1]
	}
	return clip.To(agent, 40)
}
