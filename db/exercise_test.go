package db

import (
	"path/filepath"
	"testing"
	"time"

	"pipit/broker/store"
	"pipit/broker/storetest"
)

func TestStore(t *testing.T) {
	storetest.Exercise(t, func(dir string) (store.Store, error) {
		return Open(filepath.Join(dir, "test.db"), Options{Logger: silent})
	})
}

// Who answers before the log has what was stored is a Store like another one.
func TestGatheringStore(t *testing.T) {
	storetest.Exercise(t, func(dir string) (store.Store, error) {
		return Open(filepath.Join(dir, "test.db"), Options{Logger: silent, SyncInterval: 5 * time.Millisecond})
	})
}
