package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A client is a connection that is kept alive and used by one goroutine. It writes requests that
// were built before and reads no more of a response than it must, so that on a machine shared
// with the server as much as can be is left for the server.

// ioTimeout bounds one exchange with a child.
const ioTimeout = 60 * time.Second

// target is a process that answers requests.
type target struct {
	addr string
	pid  int
	disk device                              // that it writes to
	do   func(*conn, []byte) ([]byte, error) // sends a request; nil: of HTTP
}

// conn is one keep-alive connection.
type conn struct {
	net.Conn
	r    *bufio.Reader
	body []byte // of the last response
	stop func() bool
}

// dial connects. The connection breaks when ctx ends.
func dial(ctx context.Context, addr string) (*conn, error) {
	c, err := (&net.Dialer{Timeout: ioTimeout}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{
		Conn: c,
		r:    bufio.NewReaderSize(c, 16<<10),
		stop: context.AfterFunc(ctx, func() { _ = c.Close() }),
	}, nil
}

func (c *conn) close() {
	c.stop()
	_ = c.Close()
}

// do sends a request and returns the body of its response, which is valid until the next call.
// A status other than 200 is an error.
func (c *conn) do(req []byte) ([]byte, error) {
	status, body, err := c.exchange(req)
	if err == nil && status != 200 {
		return nil, fmt.Errorf("answered %d: %.200s", status, body)
	}
	return body, err
}

// exchange is do with any status.
func (c *conn) exchange(req []byte) (status int, body []byte, err error) {
	if _, err := c.Write(req); err != nil {
		return 0, nil, err
	}
	status, length, err := c.head()
	if err != nil {
		return 0, nil, err
	}
	c.body = c.body[:0]
	if length >= 0 {
		err = c.read(length)
	} else {
		err = c.readChunks()
	}
	if err != nil {
		return 0, nil, err
	}
	return status, c.body, nil
}

// head reads status line and headers. The length is negative where the body comes in chunks.
func (c *conn) head() (status, length int, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, 0, fmt.Errorf("not a response: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("not a response: %q", line)
	}
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return 0, 0, err
		}
		if len(line) <= 2 {
			return status, length, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case len(name) == 14 && bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 {
				return 0, 0, fmt.Errorf("not a response: %q", line)
			}
		case len(name) == 17 && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			length = -1
		}
	}
}

// read appends n bytes to the body.
func (c *conn) read(n int) error {
	at := len(c.body)
	if cap(c.body) < at+n {
		c.body = append(make([]byte, 0, 2*(at+n)), c.body...)
	}
	c.body = c.body[:at+n]
	_, err := io.ReadFull(c.r, c.body[at:])
	return err
}

func (c *conn) readChunks() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return fmt.Errorf("not a chunk: %q", line)
		}
		if err := c.read(int(n)); err != nil {
			return err
		}
		if _, err := c.r.Discard(2); err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// request builds a POST. The header lines end in CRLF.
func request(client, path, header string, body []byte) []byte {
	auth := base64.StdEncoding.EncodeToString([]byte(client + ":" + client))
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic %s\r\n%sContent-Length: %d\r\n\r\n%s",
		path, auth, header, len(body), body)
}

// publishRequest publishes one message of so many bytes.
func publishRequest(topic string, size int) []byte {
	return request(producerName, "/zato/pubsub/topic/"+topic+"/", "Content-Type: text/plain\r\n", payload(size))
}

// batchRequest publishes lines messages of so many bytes.
func batchRequest(topic string, size, lines int) []byte {
	line := fmt.Appendf(nil, "{\"payload\": \"%s\"}\n", payload(size))
	return linesRequest(topic, bytes.Repeat(line, lines))
}

// linesRequest publishes the messages of a batch's body.
func linesRequest(topic string, body []byte) []byte {
	return request(producerName, "/zato/pubsub/topic/"+topic+"/?batch=true", "Content-Type: application/x-ndjson\r\n", body)
}

// receiveRequest asks for messages; query is its parameters.
func receiveRequest(topic, query string) []byte {
	return request(consumerName, "/zato/pubsub/msg/"+topic+"/?"+query, keyHeader, nil)
}

// ackRequest acknowledges all messages of a body that a receive returned.
func ackRequest(received []byte) (req []byte, n int) {
	mark := []byte(`"msg_id": "`)
	body := []byte(`{"ack": [`)
	for {
		_, rest, found := bytes.Cut(received, mark)
		end := bytes.IndexByte(rest, '"')
		if !found || end < 0 {
			break
		}
		if n > 0 {
			body = append(body, ", "...)
		}
		body = append(append(append(body, '"'), rest[:end]...), '"')
		n++
		received = rest[end:]
	}
	body = append(body, "]}"...)
	return request(consumerName, "/zato/pubsub/ack/", keyHeader+"Content-Type: application/json\r\n", body), n
}

// ackedAll tells whether the reply to a batch of acknowledgements says that all n were found.
func ackedAll(reply []byte, n int) error {
	if !bytes.Contains(reply, fmt.Appendf(nil, `"acked": %d,`, n)) {
		return fmt.Errorf("acknowledged %d, answered %.200s", n, reply)
	}
	return nil
}

func payload(size int) []byte { return bytes.Repeat([]byte("x"), size) }

// load sends req from so many clients for about d, each sending the next when the last was
// answered. Each request carries units messages.
func load(ctx context.Context, t target, clients, units int, d time.Duration, req []byte) (sample, error) {
	conns, closeAll, err := dialAll(ctx, t.addr, clients)
	if err != nil {
		return sample{}, err
	}
	defer closeAll()

	do := t.do
	if do == nil {
		do = (*conn).do
	}
	m := startMeter(t)
	end := m.start.Add(d)
	latencies := make([][]time.Duration, clients)
	err = each(conns, func(i int, c *conn) error {
		_ = c.SetDeadline(end.Add(ioTimeout))
		for {
			sent := time.Now()
			if sent.After(end) {
				return nil
			}
			if _, err := do(c, req); err != nil {
				return err
			}
			latencies[i] = append(latencies[i], time.Since(sent))
		}
	})
	if err != nil {
		return sample{}, err
	}
	n := 0
	for _, l := range latencies {
		n += len(l)
	}
	s := m.sample(n * units)
	s.latency = quantilesOf(slices.Concat(latencies...))
	return s, nil
}

// dialAll opens n connections.
func dialAll(ctx context.Context, addr string, n int) (conns []*conn, closeAll func(), err error) {
	closeAll = func() {
		for _, c := range conns {
			c.close()
		}
	}
	for range n {
		c, err := dial(ctx, addr)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		conns = append(conns, c)
	}
	return conns, closeAll, nil
}

// each runs f for every connection at once. After the first error the connections are closed, so
// that the others end too; that first error is returned.
func each(conns []*conn, f func(i int, c *conn) error) error {
	var (
		wg    sync.WaitGroup
		once  sync.Once
		first error
	)
	for i, c := range conns {
		wg.Go(func() {
			if err := f(i, c); err != nil {
				once.Do(func() {
					first = err
					for _, c := range conns {
						_ = c.Close()
					}
				})
			}
		})
	}
	wg.Wait()
	return first
}

// ask sends requests one after another over one connection.
func ask(ctx context.Context, t target, requests ...[]byte) error {
	c, err := dial(ctx, t.addr)
	if err != nil {
		return err
	}
	defer c.close()
	_ = c.SetDeadline(time.Now().Add(ioTimeout))
	for _, r := range requests {
		if _, err := c.do(r); err != nil {
			return err
		}
	}
	return nil
}

// fill publishes n messages of so many bytes by batches of a thousand, over two connections.
func fill(ctx context.Context, t target, topic string, size, n int) error {
	return fillBy(ctx, t, topic, size, n, 1000)
}

// fillBy is fill by batches of so many lines.
func fillBy(ctx context.Context, t target, topic string, size, n, lines int) error {
	if n%lines != 0 {
		return fmt.Errorf("not a multiple of %d", lines)
	}
	return repeat(ctx, t, batchRequest(topic, size, lines), n/lines)
}

// repeat sends a request n times, over two connections.
func repeat(ctx context.Context, t target, req []byte, n int) error {
	conns, closeAll, err := dialAll(ctx, t.addr, 2)
	if err != nil {
		return err
	}
	defer closeAll()
	turns := make(chan struct{}, n)
	for range n {
		turns <- struct{}{}
	}
	close(turns)
	return each(conns, func(_ int, c *conn) error {
		for range turns {
			_ = c.SetDeadline(time.Now().Add(ioTimeout))
			if _, err := c.do(req); err != nil {
				return err
			}
		}
		return nil
	})
}
