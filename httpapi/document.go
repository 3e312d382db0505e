package httpapi

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"
)

// document is a short reply on its way: an object of JSON or, with format=xml, an element data of the
// same names, whose lists have members item.
type document struct {
	b   []byte
	xml bool
}

// document begins a reply in the format that the request asks for. room is where it has space.
func (x *call) document(room []byte, status string) document {
	return newDocument(room, x.xml, status)
}

func newDocument(room []byte, asXML bool, status string) document {
	d := document{room[:0], asXML}
	if d.xml {
		d.b = append(d.b, xml.Header+"<data>"...)
	} else {
		d.b = append(d.b, '{')
	}
	if status != "" {
		d.text("status", status)
	}
	return d
}

// send ends a reply and sends it.
func (x *call) send(status int, d *document) {
	contentType := typeJSON
	if d.xml {
		contentType = typeXML
	}
	_ = x.reply(status, contentType, d.whole()) // who did not get it repeats the request
}

// whole ends a reply and returns it.
func (d *document) whole() []byte {
	if d.xml {
		d.b = append(d.b, "</data>"...)
	} else {
		d.b = append(d.b, '}')
	}
	return d.b
}

// begin appends what comes before a value, end what comes after it.
func (d *document) begin(name string) {
	if d.xml {
		d.b = append(append(append(d.b, '<'), name...), '>')
		return
	}
	if d.b[len(d.b)-1] != '{' {
		d.b = append(d.b, ", "...)
	}
	d.b = append(append(append(d.b, '"'), name...), `": `...)
}

func (d *document) end(name string) {
	if d.xml {
		d.b = append(append(append(d.b, "</"...), name...), '>')
	}
}

func (d *document) text(name, value string) {
	d.begin(name)
	if d.xml {
		d.b = appendXML(d.b, value)
	} else {
		d.b = appendString(d.b, value)
	}
	d.end(name)
}

func (d *document) number(name string, n int) {
	d.begin(name)
	d.b = strconv.AppendInt(d.b, int64(n), 10)
	d.end(name)
}

// list appends a list of n strings.
func (d *document) list(name string, n int, item func(i int) string) {
	d.begin(name)
	if !d.xml {
		d.b = append(d.b, '[')
	}
	for i := range n {
		if d.xml {
			d.text("item", item(i))
			continue
		}
		if i > 0 {
			d.b = append(d.b, ", "...)
		}
		d.b = appendString(d.b, item(i))
	}
	if !d.xml {
		d.b = append(d.b, ']')
	}
	d.end(name)
}

// object appends an object, which fields fills.
func (d *document) object(name string, fields func()) {
	d.begin(name)
	if !d.xml {
		d.b = append(d.b, '{')
	}
	fields()
	if !d.xml {
		d.b = append(d.b, '}')
	}
	d.end(name)
}

// appendXML appends a text as XML has it. What XML cannot hold is replaced.
func appendXML[S string | []byte](b []byte, s S) []byte {
	w := bytes.NewBuffer(b)
	_ = xml.EscapeText(w, []byte(s)) // a Buffer takes all
	return w.Bytes()
}

// ok is the reply of what has nothing to tell.
func (x *call) ok() error { return x.okBut("") }

// okBut is ok with something to tell all the same.
func (x *call) okBut(details string) error {
	d := x.document(x.room[:], "ZATO_OK")
	d.text("details", details)
	x.send(http.StatusOK, &d)
	return nil
}
