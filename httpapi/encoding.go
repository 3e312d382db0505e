package httpapi

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"pipit/broker/clip"
)

// encoding is how a body is packed (https://www.rfc-editor.org/rfc/rfc9110#name-content-encoding).
type encoding string

const (
	identity encoding = ""
	gzipped  encoding = "gzip"
	deflated encoding = "deflate" // zlib and, as some clients have it, deflate without its frame
)

// encodings tell who sent another one.
var encodings = []string{"gzip, deflate"}

var encodingNames = map[string]encoding{"": identity, "identity": identity, "gzip": gzipped, "x-gzip": gzipped, "deflate": deflated}

// encodingOf returns the encoding of a request's body, of which there may be one.
func encodingOf(h http.Header) (encoding, error) {
	given := h["Content-Encoding"]
	if len(given) == 0 {
		return identity, nil
	}
	name := strings.Join(given, ", ")
	e, ok := encodingNames[strings.ToLower(strings.TrimSpace(name))]
	if !ok {
		return "", &httpError{http.StatusUnsupportedMediaType, "header Content-Encoding \"" + clip.Input(name) + "\": allowed are gzip, deflate, identity"}
	}
	return e, nil
}

// decoderSize is about what a decoder takes, in bytes.
const decoderSize = 64 << 10

// decoder unpacks bodies, one after another.
type decoder struct {
	packed  io.LimitedReader
	in      bufio.Reader // so that what follows the packed bytes is left in it
	gzip    gzip.Reader  // and the others are nil until they are needed
	zlib    io.ReadCloser
	deflate io.ReadCloser
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// unpack is fill for a packed body of n bytes, -1 where that is not known. limit is of the unpacked
// ones. Packed ones past twice as many are no way to send them, and errLimit too.
func (r *room) unpack(src io.Reader, e encoding, n, limit int64) error {
	most := 2*limit + leastRoom
	if n > most {
		return errLimit
	}
	free, err := r.b.Reserve(decoderSize)
	if err != nil {
		return err
	}
	defer free()
	d := decoders.Get().(*decoder)
	d.packed = io.LimitedReader{R: src, N: most + 1}
	d.in.Reset(&d.packed)
	defer func() {
		d.packed.R = nil
		decoders.Put(d)
	}()
	if _, err := d.in.Peek(1); err == io.EOF {
		return nil // some pack nothing as nothing
	}
	unpacked, err := d.open(e)
	if err == nil {
		err = r.fill(unpacked, -1, limit)
	}
	switch {
	case d.packed.N == 0:
		return errLimit
	case err != nil:
		return err
	}
	if _, err := d.in.Peek(1); err != io.EOF {
		return errors.New("something follows the packed bytes")
	}
	return nil
}

// open returns a reader of the unpacked bytes.
func (d *decoder) open(e encoding) (io.Reader, error) {
	if e == gzipped {
		return &d.gzip, d.gzip.Reset(&d.in)
	}
	head, err := d.in.Peek(2)
	if err == nil && head[0]&0xf == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0 { // how zlib begins
		if d.zlib == nil {
			d.zlib, err = zlib.NewReader(&d.in)
			return d.zlib, err
		}
		return d.zlib, d.zlib.(zlib.Resetter).Reset(&d.in, nil)
	}
	if d.deflate == nil {
		d.deflate = flate.NewReader(&d.in)
		return d.deflate, nil
	}
	return d.deflate, d.deflate.(flate.Resetter).Reset(&d.in, nil)
}
