package db

import "go.etcd.io/bbolt"

// bbolt writes its list of free pages, 8 bytes each, with every commit. After a large backlog
// was drained that is megabytes, and most of the commit's time. The list can also be left out;
// then a start after a crash finds the free pages by going through those in use, which takes
// 2 µs a page and what it takes to read the page.
const (
	freelistSmall = 1 << 12 // free pages; up to here the list is 32 KiB at most, and always written
	freelistLarge = 1 << 16 // free pages; from here on the list, 512 KiB, is never written
	scanMost      = 1 << 17 // pages in use that a start may go through where the list is between the two
)

// skipFreelist tells whether the next commit should leave the list out.
func (f *file) skipFreelist() bool {
	st := f.bolt.Stats()
	free := st.FreePageN + st.PendingPageN
	if free <= freelistSmall || free >= freelistLarge {
		return free >= freelistLarge
	}
	return f.pages()-free <= scanMost
}

func (f *file) pages() int {
	n := 0
	_ = f.bolt.View(func(tx *bbolt.Tx) error {
		n = int(tx.Size()) / f.page
		return nil
	})
	return n
}

// freelistStored tells whether the file has the list.
func freelistStored(s *Store) bool {
	h, err := readHead(s.path)
	return err == nil && h.HasFreelist()
}

func (f *file) storeFreelist() (err error) {
	defer guard(&err)()
	f.bolt.NoFreelistSync = false
	return f.bolt.Update(func(*bbolt.Tx) error { return nil })
}
