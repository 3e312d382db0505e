package command

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"pipit/broker/limit"
)

// A server that makes a test call is waited for as long as the receiver has, and no other.
func TestPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial := func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				defer server.Close()
				if _, err := http.ReadRequest(bufio.NewReader(server)); err == nil {
					time.Sleep(limit.MaxCallbackTimeout)
					_, _ = io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
				}
			}()
			return client, nil
		}
		a := &remote{server: "http://pipit.example.com", http: newHTTPClient(&http.Transport{DialContext: dial}, answerTime)}
		if err := a.patient(limit.MaxCallbackTimeout+time.Minute).do(t.Context(), call{method: http.MethodPost}, nil); err != nil {
			t.Error(err)
		}
		begin := time.Now()
		if err := a.do(t.Context(), call{method: http.MethodPost}, nil); err == nil || time.Since(begin) != answerTime {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		time.Sleep(limit.MaxCallbackTimeout) // the server ends
	})
}
