package db

import (
	"encoding/hex"
	"fmt"
	"slices"
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
// no write.
func ReadHead(s *Store) Head {
	h := Head{Path: s.path, Metas: []page.Meta{}, Problems: []string{}}
	var err error
	for try := range headTries {
		if try > 0 {
			time.Sleep(10 * time.Millisecond)
		}
		var whole bool
		if whole, err = h.read(s); whole || err != nil {
			break
		}
	}
	if err != nil {
		h.wrong("it cannot be read: %v", err)
	}
	return h
}

// headTries is how often a head is read of which a part was being written.
const headTries = 10

// read tells whether it found both meta pages whole, and in one of them the moment that it looked at. A transaction that reads, and is
// counted, keeps the pages of that moment alone from being used again and from being overwritten: those to which a newer meta page leads
// may be free again already.
func (h *Head) read(s *Store) (whole bool, err error) {
	reading := s.wipe.enter()
	defer reading.Add(-1)
	tx, f, err := s.begin()
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	h.Problems = h.Problems[:0]
	if info, err := f.data.Stat(); err != nil {
		h.wrong("its size is not known: %v", err)
	} else {
		h.Size = info.Size()
	}
	h.Metas = readMetas(f)
	h.checkMetas(f)
	whole = len(h.Problems) == 0
	i := slices.IndexFunc(h.Metas, func(m page.Meta) bool { return m.Valid && m.Txid == uint64(tx.ID()) }) // #nosec G115 -- it counts up
	if i < 0 {
		h.wrong("neither of its meta pages is of transaction %d, which is read", tx.ID())
		return false, nil
	}
	head := h.Metas[i].Head()
	if err := head.Check(f.data, h.Size, false, nil); err != nil {
		h.wrong("%v", err)
	}
	if st, err := stateIn(tx); err != nil {
		h.wrong("%v", err)
	} else if h.Format = st.format; st.mark != (mark{}) {
		h.Log, h.Through = hex.EncodeToString(st.mark.id[:]), st.mark.through
	}
	return whole, nil
}

func (h *Head) wrong(format string, args ...any) {
	h.Problems = append(h.Problems, fmt.Sprintf(format, args...))
}

func (h *Head) checkMetas(f *file) {
	if len(h.Metas) < 2 {
		h.wrong("of two meta pages %d are there", len(h.Metas))
	}
	for _, m := range h.Metas {
		switch {
		case !m.Valid:
			h.wrong("the meta page at %d has a wrong checksum", m.Offset)
		case int64(m.PageSize) != int64(f.page):
			h.wrong("the meta page at %d says that pages have %d bytes, and they have %d", m.Offset, m.PageSize, f.page)
		}
	}
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
