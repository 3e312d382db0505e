package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"

	"pipit/broker"
)

// supervisor is the service manager that has started the process, if any: sd_notify(3) of systemd, which others speak as well.
type supervisor struct{ log *slog.Logger }

// notifyTime is how long a supervisor that reads nothing is waited for: it is not to hold up a stop.
const notifyTime = 2 * time.Second

func (s supervisor) notify(state string) {
	if err := send(os.Getenv("NOTIFY_SOCKET"), state); err != nil {
		s.log.Warn("the supervisor could not be told", "state", state, "error", err)
	}
}

// send is what daemon.SdNotify does, which waits without a bound where the socket takes no more.
func send(socket, state string) error {
	if socket == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(notifyTime))
	_, err = conn.Write([]byte(state))
	return err
}

// ready says that requests are served, also after reloading.
func (s supervisor) ready() { s.notify(daemon.SdNotifyReady) }

func (s supervisor) reloading() {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
}

func (s supervisor) stopping() { s.notify(daemon.SdNotifyStopping) }

// draining asks for time to stop beyond what the supervisor allows by itself.
func (s supervisor) draining(most time.Duration) {
	s.notify(fmt.Sprintf("%s\nEXTEND_TIMEOUT_USEC=%d", daemon.SdNotifyStopping, most.Microseconds()))
}

// watchdog tells the supervisor, where it wants to know, that commits go on, until ctx ends. A full disk does not silence it: there
// a restart is of no use.
func (s supervisor) watchdog(ctx context.Context, b *broker.Broker) {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("there is no watchdog", "error", err)
	}
	if within == 0 {
		return
	}
	tick := time.NewTicker(within / 3)
	defer tick.Stop()
	for {
		if err := b.Alive(); err != nil { // it ends, or is about to
			return
		}
		s.notify(daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Names of sockets, FileDescriptorName= of a socket unit. Those that it does not name have the unit's own, and are
// the protocol's.
const (
	httpSocket  = "http"
	adminSocket = "admin"
	unitSuffix  = ".socket"
)

// sockets are those that a supervisor listens on for this process, by their names: they stay open while it starts again.
type sockets map[string][]*net.TCPListener

func inheritedSockets() (sockets, error) {
	all := sockets{}
	var errs []error
	for _, f := range activation.Files(true) {
		name := f.Name()
		if strings.HasSuffix(name, unitSuffix) {
			name = httpSocket
		}
		l, err := net.FileListener(f)
		tcp, ok := l.(*net.TCPListener)
		switch {
		case err != nil:
			err = fmt.Errorf("socket %q of the supervisor: %w", name, err)
		case !ok:
			err = errors.Join(fmt.Errorf("socket %q of the supervisor: allowed is one of TCP", name), l.Close())
		case name != httpSocket && name != adminSocket:
			err = errors.Join(fmt.Errorf("socket %q of the supervisor: allowed are the names %q and %q", name, httpSocket, adminSocket), l.Close())
		default:
			all[name] = append(all[name], tcp)
		}
		errs = append(errs, err, f.Close())
	}
	return all, errors.Join(errs...)
}
