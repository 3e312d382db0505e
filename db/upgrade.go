package db

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"pipit/broker/store"
)

// Formats, and what the next one has that the one before had not:
//
//	1
//	2    lane and cursor count by themselves: see format1.go; the bucket payload
//	3    records of version 2, which a program of format 2 would take for damage; the buckets queue and webhook

// upgrade brings the file to the present format, in one transaction, whose size is that of what the file says of
// lanes and queues: no message is touched. Where it is cut short, the file is of its old format.
func (s *Store) upgrade(img *store.Image) error {
	if !s.writes() {
		return nil
	}
	old := uint32(0)
	err := s.bolt().View(func(tx *bbolt.Tx) error {
		old = binary.BigEndian.Uint32(tx.Bucket(bucketNames[bucketMeta]).Get(keyFormat))
		return nil
	})
	if err != nil || old >= Format {
		return err
	}
	s.bolt().NoFreelistSync = s.file().skipFreelist()
	err = s.bolt().Update(func(tx *bbolt.Tx) error {
		if old == 1 {
			if err := upgradeFormat1(tx, img); err != nil {
				return err
			}
		}
		for _, name := range bucketNames {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketNames[bucketMeta])
		return errors.Join(meta.Put(keyFormat, binary.BigEndian.AppendUint32(nil, Format)), meta.Put(keyProgram, []byte(s.program)))
	})
	if err != nil {
		return fmt.Errorf("bringing it from format %d to %d: %w", old, Format, err)
	}
	s.wrote()
	s.log.Info("the database was brought to a newer format", "file", s.path, "from", old, "to", Format)
	return nil
}
