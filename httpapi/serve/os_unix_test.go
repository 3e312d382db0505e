//go:build unix

package serve

import (
	"testing"
	"time"

	"pipit/httpapi/serve/servetest"
)

// What has arrived and was not read is known below whatever wraps the connection.
func TestHasArrived(t *testing.T) {
	all, err := listenAll(t.Context(), "http.listen", []string{"127.0.0.1:0"}, newConnections(1, quiet))
	if err != nil {
		t.Fatal(err)
	}
	defer all.close()
	client := servetest.Connect(t, all[0].Addr().String())
	c, err := all[0].Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.(*conn).hasBegun() {
		t.Error("something has come that was not sent")
	}
	client.Send(t, "G")
	for range 1000 {
		if c.(*conn).hasBegun() {
			return
		}
		time.Sleep(time.Millisecond) // lint:sleep the kernel hands it over
	}
	t.Error("what was sent has not come")
}
