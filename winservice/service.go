// Package winservice runs the program as a service of Windows, and installs it as one. Elsewhere it does nothing: there, what runs
// services needs nothing of the program but its signals.
//
// The service has an account of its own, NT SERVICE\pipit, that may nothing but what it is given. Its log is the event log of
// applications; SERVICE_CONTROL_PARAMCHANGE has the configuration loaded again.
package winservice

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Name is that of the service, and of its source in the event log.
const Name = "pipit"

// Account is who the service runs as: Windows knows it by the name of the service.
const Account = `NT SERVICE\` + Name

// ErrElsewhere is the error where the system is not Windows.
var ErrElsewhere = errors.New("services of Windows are on Windows alone: on Linux the packages have a unit for systemd")

// arguments are those that the service is started with: a configuration that is there, by its whole path, since
// a service is started in a folder of the system.
func arguments(config string) ([]string, error) {
	if config == "" {
		return nil, errors.New("--config is missing: allowed is the configuration that the service is to have")
	}
	file, err := filepath.Abs(config)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	} else if info.IsDir() {
		return nil, fmt.Errorf("--config %q: allowed is a file", config)
	}
	return []string{"serve", "--config", file}, nil
}

// folder is that of the configuration in such arguments, in which its relative paths begin; empty where there is none.
func folder(args []string) string {
	if i := slices.Index(args, "--config"); i >= 0 && i+1 < len(args) {
		return filepath.Dir(args[i+1])
	}
	return ""
}

// While it stops, the service tells Windows every stopEvery that it goes on, and that it may take another stopTime until it says so
// again: a drain may take an hour, and what comes behind it 10 seconds.
const (
	stopTime  = 15 * time.Second
	stopEvery = stopTime / 3
)

// patience is how long to wait for a service that stops: as long as it goes on saying so.
type patience struct {
	checkpoint uint32
	until      time.Time
}

// over tells whether the wait is over for a service that says so now. Its checkpoint is another one each time that it goes on, and
// hint is how long it may take until the next; no less than stopTime is waited.
func (p *patience) over(now time.Time, checkpoint uint32, hint time.Duration) bool {
	if p.until.IsZero() || checkpoint != p.checkpoint {
		p.checkpoint, p.until = checkpoint, now.Add(max(hint, stopTime))
	}
	return now.After(p.until)
}

// severity is how an event is shown.
type severity int

const (
	information severity = iota
	warning
	failure
)

// maxEvent bounds one event, in bytes: Windows takes 31,839 characters.
const maxEvent = 31000

// events makes events of the lines of the log. One goroutine writes to it.
type events struct {
	report func(severity, string) error
	rest   []byte // of a line whose end has not come
}

func (e *events) Write(p []byte) (int, error) {
	e.rest = append(e.rest, p...)
	for {
		line, rest, ok := bytes.Cut(e.rest, []byte("\n"))
		if !ok {
			if len(e.rest) <= maxEvent {
				return len(p), nil
			}
			line, rest = e.rest[:maxEvent], e.rest[maxEvent:]
		}
		line = line[:min(len(line), maxEvent)]
		e.rest = bytes.Clone(rest)
		// A text with a byte 0 is refused by Windows.
		text := string(bytes.ReplaceAll(bytes.TrimRight(line, "\r"), []byte{0}, []byte("?")))
		if text == "" {
			continue
		}
		if err := e.report(severityOf(text), text); err != nil {
			return len(p), err
		}
	}
}

// severityOf is that of a line: its level, in either format of the log, and failure for what is no line of the log but said at the end.
func severityOf(line string) severity {
	for _, s := range []struct {
		mark string
		is   severity
	}{
		{`"level":"ERROR"`, failure}, {`"level":"WARN"`, warning}, {`"level":"`, information},
		{" level=ERROR ", failure}, {" level=WARN ", warning}, {" level=", information},
	} {
		if bytes.Contains([]byte(line[:min(len(line), 120)]), []byte(s.mark)) {
			return s.is
		}
	}
	return failure
}
