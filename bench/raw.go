package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"time"
)

const (
	rawBlock = 4 << 10
	rawSize  = 64 << 20
)

// rawFile is a file of zeros that is written over, a block after another, round and round: the least that a commit can cost.
type rawFile struct {
	file *os.File
	at   int64
	disk device
}

func openRawFile(dir string) (*rawFile, error) {
	f, err := os.Create(filepath.Join(dir, "raw")) // #nosec G304 -- in a directory of ours
	if err != nil {
		return nil, err
	}
	for range rawSize / (1 << 20) {
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		_ = f.Close()
		return nil, err
	}
	return &rawFile{file: f, disk: deviceOf(dir)}, nil
}

func (r *rawFile) close() { _ = r.file.Close() }

// flushes writes a block and flushes it, again and again for about d. The latencies are those of both.
func (r *rawFile) flushes(ctx context.Context, d time.Duration) (sample, error) {
	block := bytes.Repeat([]byte("x"), rawBlock)
	var latencies []time.Duration
	m := startMeter(target{disk: r.disk})
	for end := m.start.Add(d); ; {
		begun := time.Now()
		if begun.After(end) {
			break
		}
		if err := ctx.Err(); err != nil {
			return sample{}, err
		}
		if _, err := r.file.WriteAt(block, r.at); err != nil {
			return sample{}, err
		}
		if err := flush(r.file); err != nil {
			return sample{}, err
		}
		r.at = (r.at + rawBlock) % rawSize
		latencies = append(latencies, time.Since(begun))
	}
	s := m.sample(len(latencies))
	s.latency = quantilesOf(latencies)
	return s, nil
}
