package db

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"
)

// copying is a file that is to take the place of the open one. fileMu guards it.
type copying struct {
	*file
	path   string // that it has until then
	no     int    // the bucket that is being copied; all before it are, but for meta, which is the last
	key    []byte // up to which that is; nil: nothing of it yet
	secret bool   // something secret was replaced or deleted, and free pages of it may have it
	err    error  // of what a table changed in it: it is given up
	like   *file  // in whose place it is to come
	seam   *seam
}

// wrote is called when a part was written, and not flushed.
func (c *copying) wrote() error { return c.seam.copied(c.path, false) }

// sync makes durable what was written.
func (c *copying) sync() error {
	if !c.like.bolt.NoSync { // a test
		if err := c.bolt.Sync(); err != nil {
			return err
		}
	}
	return c.seam.copied(c.path, true)
}

// copyPart copies the next entries.
func (k *compacting) copyPart(c *copying) (err error) {
	s := k.store
	defer func() {
		err = k.failure(err)
	}()
	defer guard(&err)()
	from, err := s.bolt().Begin(false)
	if err != nil {
		return err
	}
	defer from.Rollback() // behind the other's end, which has values of it
	to, err := c.bolt.Begin(true)
	if err != nil {
		return err
	}
	defer abandon(to)
	all, n := s.compactPart, 0
	for size := 0; size < all && n < compactEntries && c.no < len(bucketNames); {
		got, err := c.copyBucket(from, to, all-size, compactEntries-n)
		if err != nil {
			return err
		}
		size += got.size
		n += got.entries
		k.part.Add(uint64(got.size)) // #nosec G115 -- a size
	}
	if err := to.Commit(); err != nil {
		return err
	}
	if err := c.wrote(); err != nil {
		return err
	}
	return c.sync()
}

type copied struct{ entries, size int }

// copyBucket copies entries of a bucket until they have so many bytes, or are so many; at the bucket's end it goes on to the
// next one.
func (c *copying) copyBucket(from, to *bbolt.Tx, size, entries int) (n copied, err error) {
	name := bucketNames[c.no]
	source, target := from.Bucket(name), to.Bucket(name)
	target.FillPercent = fillCopied
	cur := source.Cursor()
	k, v := cur.Seek(c.key)
	if c.key != nil && bytes.Equal(k, c.key) {
		k, v = cur.Next()
	}
	last := c.key
	for ; k != nil && n.size < size && n.entries < entries; k, v = cur.Next() {
		if last != nil && bytes.Compare(k, last) <= 0 { // pages of a damaged file can form a circle
			return n, fmt.Errorf("%s: key %x out of order", name, k)
		}
		last = k
		if c.no == bucketPayload && v == nil {
			own := source.Bucket(k)
			if v = own.Get(keyPayload); v == nil {
				return n, fmt.Errorf("payload %x: nothing is there", k)
			}
			err = writePayload(target, k, v)
		} else {
			err = target.Put(k, v)
		}
		if err != nil {
			return n, err
		}
		n.entries++
		n.size += len(k) + len(v) + 16 // and what bbolt has beside them
	}
	c.key = append([]byte(nil), last...)
	if k == nil {
		c.no, c.key = c.no+1, nil
	}
	return n, nil
}

// fillCopied is how far pages are filled by copying.
const fillCopied = 0.95

// take makes a table's changes of what was copied before.
func (c *copying) take(t *table) (err error) {
	defer guard(&err)()
	c.secret = c.secret || t.secret
	tx, err := c.bolt.Begin(true)
	if err != nil {
		return err
	}
	defer abandon(tx)
	for no := bucketMeta + 1; no <= min(c.no, len(bucketNames)-1); no++ {
		if no == c.no && c.key == nil {
			break
		}
		through := c.key
		if no < c.no {
			through = nil
		}
		if err := t.write(no, tx.Bucket(bucketNames[no]), through); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return c.wrote()
}
