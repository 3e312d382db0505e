package gate

import (
	"bytes"
	"encoding/json"
)

// Marshal is json.Marshal without the escapes that only a script within a page needs.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
