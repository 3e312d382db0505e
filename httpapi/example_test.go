package httpapi_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pipit/broker"
	"pipit/db"
	"pipit/httpapi"
)

// A program serves the protocol of a broker that it holds, beside whatever else it serves, and stops in order.
func Example() {
	dir, err := os.MkdirTemp("", "pipit")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := db.Open(filepath.Join(dir, "pipit.db"), db.Options{})
	if err != nil {
		log.Fatal(err)
	}
	b, err := broker.Open(store, broker.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close() // after the server has stopped
	ctx := context.Background()
	if _, err := b.Apply(ctx, broker.Definition{
		Clients:   []broker.Client{{Username: "shop", Password: "a long password"}},
		Topics:    []broker.Topic{{Name: "/order"}},
		Producers: []broker.Producer{{Client: "shop", Topic: "/order"}},
	}); err != nil {
		log.Fatal(err)
	}

	server := httpapi.NewServer(httpapi.New(b, httpapi.Options{}), 0)
	server.RegisterOnShutdown(b.Drain) // long polls and streams end
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(l)

	resp, err := http.Post("http://shop:a%20long%20password@"+l.Addr().String()+"/zato/pubsub/topic//order/?msg_id=order-17", "text/plain", strings.NewReader("17"))
	if err != nil {
		log.Fatal(err)
	}
	answer, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Println(resp.Status, string(answer), err)

	enough, cancel := context.WithTimeout(ctx, 8*time.Second)
	defer cancel()
	fmt.Println(server.Shutdown(enough))

	// Output:
	// 200 OK {"status": "ZATO_OK", "msg_id": "order-17"} <nil>
	// <nil>
}
