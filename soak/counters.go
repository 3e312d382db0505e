//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What the program may have at rest, and at any time.
const (
	maxMemory     = 512 << 20
	maxFiles      = 400
	restFiles     = 60
	restGoroutine = 150
)

// watch looks at what the process has, every second or so.
func (s *soak) watch(ctx context.Context) {
	for ctx.Err() == nil {
		memory, files := s.server.usage()
		s.mu.Lock()
		high := memory > maxMemory && memory > s.peak.memory || files > maxFiles && files > s.peak.files
		s.peak.memory, s.peak.files = max(s.peak.memory, memory), max(s.peak.files, files)
		s.mu.Unlock()
		if high {
			s.ledger.wrong("the program has %d MiB and %d files open: at most %d MiB and %d are expected", memory>>20, files, maxMemory>>20, maxFiles)
		}
		pause(ctx, time.Second)
	}
}

// read makes a request and returns the body of an answer with 200.
func (s *soak) read(ctx context.Context, from *server, r request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	resp, err := s.send(ctx, from, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s was answered with %d: %s", r.path, resp.StatusCode, body)
	}
	return body, err
}

// series is what one scrape has: values by name and labels as they are written.
type series map[string]float64

func parseSeries(text string) series {
	m := series{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, value, ok := cutLast(line, " "); ok && !strings.HasPrefix(line, "#") {
			m[name], _ = strconv.ParseFloat(value, 64)
		}
	}
	return m
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", "", false
	}
	return s[:i], s[i+len(sep):], true
}

// compareCounters has the queues empty and the counters what the books say, by that time.
func (s *soak) compareCounters(ctx context.Context, end time.Time) {
	for {
		text, err := s.read(ctx, s.server, request{method: http.MethodGet, path: "/metrics"})
		wrong := []string{fmt.Sprint(err)}
		if err == nil {
			now := parseSeries(string(text))
			wrong = s.differences(now)
			if len(wrong) == 0 {
				s.atRest(now)
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
		if time.Now().After(end) {
			s.ledger.wrong("at rest: %s", strings.Join(wrong, "; "))
			s.atRest(parseSeries(string(text)))
			return
		}
		pause(ctx, 500*time.Millisecond)
	}
}

// differences are what a scrape has otherwise than the books.
func (s *soak) differences(now series) (wrong []string) {
	for name, n := range now {
		if strings.HasPrefix(name, "pipit_queue_messages{") && n != 0 {
			wrong = append(wrong, fmt.Sprintf("%s is %g", name, n))
		}
	}
	l := s.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	compare := func(name string, least, perhaps int) {
		if n := now[name]; n < float64(least) || n > float64(least+perhaps) {
			wrong = append(wrong, fmt.Sprintf("%s is %g, and %d were answered, %d perhaps", name, n, least, perhaps))
		}
	}
	for _, topic := range topics {
		compare(fmt.Sprintf(`pipit_messages_published_total{topic=%q}`, topic), l.stored[topic], l.lostStores[topic])
	}
	for _, q := range l.queues {
		if !q.callback && !q.once && q.id == 0 {
			compare(fmt.Sprintf(`pipit_messages_acked_total{client=%q,topic=%q}`, q.name, q.topic), q.acks, q.lost)
		}
	}
	return wrong
}

// atRest takes note of what the process has where nothing is to do.
func (s *soak) atRest(now series) {
	s.client.CloseIdleConnections()
	memory, files := s.server.usage()
	r := resources{memory, files, int(now["go_goroutines"])}
	s.mu.Lock()
	s.rest = append(s.rest, r)
	s.peak.goroutines = max(s.peak.goroutines, r.goroutines)
	s.mu.Unlock()
	if r.files > restFiles || r.goroutines > restGoroutine {
		s.ledger.wrong("at rest the program has %d files open and %d goroutines: at most %d and %d are expected", r.files, r.goroutines, restFiles, restGoroutine)
	}
}
