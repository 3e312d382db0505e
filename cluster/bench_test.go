package cluster

import (
	"fmt"
	"path/filepath"
	"testing"

	"pipit/db"
)

// Commits of three nodes in one process that share its disk, and of a database by itself.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint("three-", size), func(b *testing.B) {
			c := newThree(b)
			term := c.leader()
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := term.Commit(c.message(size)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint("one-", size), func(b *testing.B) {
			s, err := db.Open(filepath.Join(b.TempDir(), "one.db"), db.Options{Logger: discard})
			if err == nil {
				_, err = s.Load()
			}
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			c := &three{}
			b.SetBytes(int64(size))
			for b.Loop() {
				if err := s.Commit(c.message(size)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
