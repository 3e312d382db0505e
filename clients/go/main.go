// Command go publishes to a Pipit and consumes from it, by package pipit: docs/clients.md tells how.
package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"pipit/clients/go/pipit"
)

func main() {
	if len(os.Args) < 3 || os.Args[1] != "publish" && os.Args[1] != "consume" {
		log.Fatal(`
    go run . publish TOPIC [MIME_TYPE] < PAYLOAD    prints the message's ID
    go run . consume TOPIC [COMMAND ...]            runs the command for each message, the payload as its input`)
	}
	c := &pipit.Client{
		Server: cmp.Or(os.Getenv("PIPIT_SERVER"), "http://127.0.0.1:11223"), User: required("PIPIT_USER"), Password: required("PIPIT_PASSWORD"),
		SubKey: os.Getenv("PIPIT_SUB_KEY"), Lease: seconds("PIPIT_LEASE", "30"), Patience: seconds("PIPIT_PATIENCE", "240"),
	}
	act := consume
	if os.Args[1] == "publish" {
		act = publish
	}
	if err := act(c, os.Args[2], os.Args[3:]); err != nil {
		log.Fatal(err)
	}
}

func publish(c *pipit.Client, topic string, mimeType []string) error {
	payload, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	id := hex.EncodeToString(random)
	if err := c.Publish(context.Background(), topic, id, append(mimeType, "application/octet-stream")[0], payload); err != nil {
		return err
	}
	_, err = fmt.Println(id)
	return err
}

func consume(c *pipit.Client, topic string, command []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return c.Consume(ctx, topic, func(id string, payload []byte) error {
		if len(command) == 0 {
			_, err := fmt.Printf("%s\n", payload)
			return err
		}
		cmd := exec.Command(command[0], command[1:]...) // #nosec G204 -- the user's
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(payload), os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), "PIPIT_MSG_ID="+id)
		return cmd.Run()
	})
}

func required(name string) string {
	value, ok := os.LookupEnv(name)
	if !ok {
		log.Fatalf("%s is not set", name)
	}
	return value
}

func seconds(name, otherwise string) time.Duration {
	d, err := time.ParseDuration(cmp.Or(os.Getenv(name), otherwise) + "s")
	if err != nil || d <= 0 {
		log.Fatalf("%s: %q, allowed are seconds", name, os.Getenv(name))
	}
	return d
}
