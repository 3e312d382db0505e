package db

import (
	"encoding/hex"
	"fmt"
	"time"

	"pipit/db/page"
)

// Head is what the first pages of an open database say, and what is wrong with them: for who looks for a fault.
type Head struct {
	Path     string      `json:"path"`
	Size     int64       `json:"size"` // bytes
	Metas    []page.Meta `json:"metas"`
	Format   uint32      `json:"format"`
	Log      string      `json:"log,omitempty"`         // the ID of the log that goes with it
	Through  uint64      `json:"log_through,omitempty"` // up to which batch the file has what is in that
	Problems []string    `json:"problems"`
}

// ReadHead looks at both meta pages, at the root bucket and, where the file has it, the list of free pages. It changes nothing and waits for
// no write: a transaction that reads, and is counted, keeps what it looks at from being used again and from being overwritten meanwhile.
func ReadHead(s *Store) Head {
	h := Head{Path: s.path, Metas: []page.Meta{}, Problems: []string{}}
	wrong := func(format string, args ...any) { h.Problems = append(h.Problems, fmt.Sprintf(format, args...)) }
	reading := s.wipe.enter()
	defer reading.Add(-1)
	tx, f, err := s.begin()
	if err != nil {
		wrong("it cannot be read: %v", err)
		return h
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	if info, err := f.data.Stat(); err != nil {
		wrong("its size is not known: %v", err)
	} else {
		h.Size = info.Size()
	}
	for try := range 3 { // one may be written just now
		if try > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		if h.Metas = readMetas(f); len(h.Metas) == 2 && h.Metas[0].Valid && h.Metas[1].Valid {
			break
		}
	}
	if len(h.Metas) < 2 {
		wrong("of two meta pages %d are there", len(h.Metas))
	}
	for _, m := range h.Metas {
		switch {
		case !m.Valid:
			wrong("the meta page at %d has a wrong checksum", m.Offset)
		case int64(m.PageSize) != int64(f.page):
			wrong("the meta page at %d says that pages have %d bytes, and they have %d", m.Offset, m.PageSize, f.page)
		}
	}
	if head, err := page.ReadHead(f.data); err != nil {
		wrong("%v", err)
	} else if err := head.Check(f.data, h.Size, false, nil); err != nil {
		wrong("%v", err)
	}
	if st, err := stateIn(tx); err != nil {
		wrong("%v", err)
	} else if h.Format = st.format; st.mark != (mark{}) {
		h.Log, h.Through = hex.EncodeToString(st.mark.id[:]), st.mark.through
	}
	return h
}

func readMetas(f *file) []page.Meta {
	list := []page.Meta{}
	for _, off := range []int64{0, int64(f.page)} {
		if m, ok := page.ReadMeta(f.data, off); ok {
			list = append(list, m)
		}
	}
	return list
}
