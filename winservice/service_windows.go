package winservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"
	"golang.org/x/sys/windows/svc/mgr"
)

// Is tells whether the process is the service.
func Is() bool {
	is, err := svc.IsWindowsService()
	return is && err == nil
}

// Run runs a program as the service where the process is that, and tells so: then code is its exit code. The
// program gets the event log in the place of standard error; reload has it load its configuration again.
func Run(program func(context.Context, io.Writer) int, reload func()) (code int, is bool) {
	if !Is() {
		return 0, false
	}
	log, err := eventlog.Open(Name)
	if err != nil {
		return 1, true // there is nobody to tell
	}
	defer log.Close()
	if dir := folder(os.Args); dir != "" {
		if err := os.Chdir(dir); err != nil {
			_ = log.Error(1, err.Error())
			return 1, true
		}
	}
	s := &service{program: program, reload: reload, log: &events{report: func(s severity, text string) error {
		switch s {
		case failure:
			return log.Error(1, text)
		case warning:
			return log.Warning(1, text)
		default:
			return log.Info(1, text)
		}
	}}}
	if err := svc.Run(Name, s); err != nil {
		_ = log.Error(1, err.Error())
		return 1, true
	}
	return s.code, true
}

// service is an svc.Handler.
type service struct {
	program func(context.Context, io.Writer) int
	reload  func()
	log     io.Writer
	code    int
}

// Execute runs the program until it ends, by itself or since Windows wants it to.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (ofService bool, code uint32) {
	status <- svc.Status{State: svc.StartPending}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan int, 1)
	go func() { ended <- s.program(ctx, s.log) }()
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown | svc.AcceptParamChange}
	pending := svc.Status{State: svc.StopPending, WaitHint: uint32(stopTime.Milliseconds())}
	tick := time.NewTicker(stopEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if ctx.Err() != nil { // the program ends by itself when its drain and its shutdown are over
				pending.CheckPoint++
				status <- pending
			}
		case s.code = <-ended:
			return true, uint32(s.code) // #nosec G115 -- an exit code
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.ParamChange:
				s.reload()
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				pending.CheckPoint++
				status <- pending
				stop()
			}
		}
	}
}

// Install makes the service, of this program with a configuration, which begins with the machine.
func Install(config string) (err error) {
	args, err := arguments(config)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Disconnect()) }()
	s, err := m.CreateService(Name, program, mgr.Config{
		DisplayName: "Pipit publish/subscribe", Description: "REST publish/subscribe in one process",
		StartType: mgr.StartAutomatic, ServiceStartName: Account,
	}, args...)
	if err != nil {
		return fmt.Errorf("service %s: %w", Name, err)
	}
	defer func() {
		if err != nil { // nothing by half
			err = errors.Join(err, s.Delete())
		}
		err = errors.Join(err, s.Close())
	}()
	// A failure is an end with another exit code than 0, too: after a write whose outcome is not known it is to be started again.
	again := mgr.RecoveryAction{Type: mgr.ServiceRestart, Delay: 5 * time.Second}
	if err := s.SetRecoveryActions([]mgr.RecoveryAction{again, again, again}, uint32((24 * time.Hour).Seconds())); err != nil {
		return err
	}
	if err := s.SetRecoveryActionsOnNonCrashFailures(true); err != nil {
		return err
	}
	return eventlog.InstallAsEventCreate(Name, eventlog.Error|eventlog.Warning|eventlog.Info)
}

// open calls fn with the service.
func open(fn func(*mgr.Service) error) (err error) {
	m, err := mgr.Connect()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Disconnect()) }()
	s, err := m.OpenService(Name)
	if err != nil {
		return fmt.Errorf("service %s: %w", Name, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fn(s)
}

// Uninstall removes it, when it is stopped. Its database stays.
func Uninstall() error {
	return open(func(s *mgr.Service) error {
		status, err := s.Query()
		if err != nil {
			return err
		}
		if status.State != svc.Stopped {
			return fmt.Errorf("service %s runs: stop it first", Name)
		}
		return errors.Join(s.Delete(), eventlog.Remove(Name))
	})
}

// Start starts it.
func Start() error { return open(func(s *mgr.Service) error { return s.Start() }) }

// Stop stops it, and returns when it has, which takes as long as its drain. The error is that of one that does not go on.
func Stop(ctx context.Context) error {
	return open(func(s *mgr.Service) error {
		if _, err := s.Control(svc.Stop); err != nil && !errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
			return err
		}
		var wait patience
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			status, err := s.Query()
			if err != nil || status.State == svc.Stopped {
				return err
			}
			if wait.over(time.Now(), status.CheckPoint, time.Duration(status.WaitHint)*time.Millisecond) {
				return fmt.Errorf("service %s does not stop: it has not gone on with that for %s", Name, stopTime)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("service %s has not stopped: %w", Name, ctx.Err())
			case <-tick.C:
			}
		}
	})
}
