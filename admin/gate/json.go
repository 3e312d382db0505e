package gate

import (
	"bytes"
	"encoding/json"
)

// appender is what writes itself as JSON at the end of b, faster than an encoder finds out how.
type appender interface {
	AppendJSON(b []byte) ([]byte, error)
}

// Marshal is json.Marshal without the escapes that only a script within a page needs.
func Marshal(v any) ([]byte, error) {
	if a, ok := v.(appender); ok {
		return a.AppendJSON(nil)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
