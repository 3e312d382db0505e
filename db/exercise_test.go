package db

import (
	"path/filepath"
	"testing"

	"pipit/broker/store"
	"pipit/broker/storetest"
)

func TestStore(t *testing.T) {
	storetest.Exercise(t, func(dir string) (store.Store, error) {
		return Open(filepath.Join(dir, "test.db"), Options{Logger: silent})
	})
}
