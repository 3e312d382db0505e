package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"
)

// emptyFlag makes this command the empty handler.
const emptyFlag = "-serve-empty-handler"

// serveEmpty serves the handler that does what no publish can do without, and nothing else: it
// compares the credentials and reads the body. It writes its address to out and ends when in does.
func serveEmpty(in io.Reader, out io.Writer) error {
	r := httprouter.New()
	r.RedirectFixedPath, r.RedirectTrailingSlash = false, false
	want := []byte(producerName)
	r.POST("/zato/pubsub/topic/*topic", func(w http.ResponseWriter, q *http.Request, _ httprouter.Params) {
		user, password, _ := q.BasicAuth()
		if subtle.ConstantTimeCompare([]byte(user), want)&subtle.ConstantTimeCompare([]byte(password), want) != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if _, err := io.ReadAll(q.Body); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusOK)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: r, ReadHeaderTimeout: ioTimeout}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = srv.Close()
	}()
	fmt.Fprintln(out, l.Addr())
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// startEmpty runs the empty handler as a child, which stop ends.
func startEmpty(ctx context.Context) (t target, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return t, nil, err
	}
	cmd := exec.CommandContext(ctx, self, emptyFlag) // #nosec G204 -- this program
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = 5 * time.Second
	in, err := cmd.StdinPipe() // it ends with us, however we end
	if err != nil {
		return t, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return t, nil, err
	}
	if err := cmd.Start(); err != nil {
		return t, nil, err
	}
	stop = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		stop()
		return t, nil, fmt.Errorf("the empty handler did not start: %w", err)
	}
	return target{addr: strings.TrimSpace(string(line[:n])), pid: cmd.Process.Pid}, stop, nil
}
