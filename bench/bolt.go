package main

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// rawBolt is plain bbolt: keys that grow, in one bucket, written by one goroutine.
type rawBolt struct {
	db   *bbolt.DB
	seq  uint64
	disk device
}

var rawBucket = []byte("log")

func openRawBolt(dir string) (*rawBolt, error) {
	db, err := bbolt.Open(filepath.Join(dir, "raw.db"), 0o600, &bbolt.Options{
		Timeout:         time.Second,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: 1 << 30,
	})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(rawBucket)
		return err
	})
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	return &rawBolt{db: db, disk: deviceOf(dir)}, nil
}

func (r *rawBolt) close() { _ = r.db.Close() }

// commits makes commits of so many puts of so many bytes for about d. The latencies are those of
// commits, the rate and the CPU time, in clientCPU, those of puts.
func (r *rawBolt) commits(ctx context.Context, puts, size int, d time.Duration) (sample, error) {
	value := payload(size)
	var latencies []time.Duration
	m := startMeter(target{disk: r.disk})
	for end := m.start.Add(d); ; {
		sent := time.Now()
		if sent.After(end) {
			break
		}
		if err := ctx.Err(); err != nil {
			return sample{}, err
		}
		err := r.db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket(rawBucket)
			b.FillPercent = 1
			for range puts {
				r.seq++
				if err := b.Put(binary.BigEndian.AppendUint64(nil, r.seq), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return sample{}, err
		}
		latencies = append(latencies, time.Since(sent))
	}
	s := m.sample(len(latencies) * puts)
	s.latency = quantilesOf(latencies)
	return s, nil
}
