package db

import "go.etcd.io/bbolt"

// pageSize of new files; 0 is that of the operating system.
const pageSize = 0

// bbolt writes its list of free pages, 8 bytes each, with every commit. After a large backlog
// was drained that is megabytes, and most of the commit's time. The list can also be left out;
// then a start after a crash finds the free pages by going through those in use.
const (
	freelistSmall = 4096    // pages; up to here writing the list costs less than one page in eight of a commit
	scanMost      = 1 << 18 // pages in use; above, the start after a crash would take too long
)

// skipFreelist tells whether the next commit should leave the list out.
func (s *Store) skipFreelist() bool {
	st := s.bolt.Stats()
	free := st.FreePageN + st.PendingPageN
	if free <= freelistSmall {
		return false
	}
	return s.pages()-free <= scanMost
}

func (s *Store) pages() int {
	n := 0
	_ = s.bolt.View(func(tx *bbolt.Tx) error {
		n = int(tx.Size()) / s.bolt.Info().PageSize
		return nil
	})
	return n
}

// freelistStored tells whether the file has the list.
func (s *Store) freelistStored() bool {
	h, err := readHead(s.path)
	return err == nil && h.freelist != noFreelist
}

func (s *Store) storeFreelist() (err error) {
	defer guard(&err)()
	s.bolt.NoFreelistSync = false
	return s.bolt.Update(func(*bbolt.Tx) error { return nil })
}
