package db

import "github.com/tidwall/btree"

// A table has what the log has and the file has not: of each bucket the entries that were put or deleted since, sorted. Two are
// there at most: the live one, which commits change, and a frozen one, which a checkpoint is moving into the file.
//
// A table that others can see is not changed any more. A commit changes a fork of it, which shares with it all that
// stays the same, and which takes its place when the log has the commit.
type table struct {
	buckets   [len(bucketNames)]*btree.Map[string, value] // nil: nothing
	shared    [len(bucketNames)]bool                      // by the table that this is a fork of
	sequences [len(bucketNames)]uint64                    // of buckets that number their keys; 0: that of what is below

	dirty   bool   // something is in it
	secret  bool   // something secret was replaced or deleted
	last    uint64 // the number of the last batch that is in it
	replica place  // of that batch in the log of a cluster
	size    int64  // bytes, about, with what the entries take beside their batches
}

// value is an entry of a table.
type value struct {
	b     []byte // nil: the entry is deleted
	fresh bool   // nothing below the table has such an entry: deleted, nothing needs to be kept of it
}

// beside is what an entry takes beside its value: its key, and its place in the tree, of which keys that come in order leave
// half of each node empty.
const beside = 168

// degree bounds how much a commit copies: a node has at most twice as many entries.
const degree = 16

// fork returns a table with the same entries that can be changed.
func (t *table) fork() *table {
	f := *t
	for i := range f.shared {
		f.shared[i] = f.buckets[i] != nil
	}
	return &f
}

// own returns a bucket that can be changed.
func (t *table) own(no int) *btree.Map[string, value] {
	switch {
	case t.buckets[no] == nil:
		t.buckets[no] = btree.NewMap[string, value](degree)
	case t.shared[no]:
		t.buckets[no] = t.buckets[no].IsoCopy()
	}
	t.shared[no] = false
	return t.buckets[no]
}

// empty tells whether nothing is in it.
func (t *table) empty() bool { return !t.dirty }

// tables are the tables of one moment, and what the file must have beside them.
type tables struct {
	live   *table
	frozen *table // nil: none
	file   *file
	base   int // the number of the transaction from which on the file has what was in earlier tables
	most   int // the number of the last transaction that they go with; 0: of all that come
}

// goWith tells whether they and a file, as of a transaction, are the content of one moment.
func (t *tables) goWith(f *file, transaction int) bool {
	return t.file == f && transaction >= t.base && (t.most == 0 || transaction <= t.most)
}

// full tells whether a commit has to wait for a checkpoint, so that the tables stay within so many bytes. The log does not bound
// them: a removal is a few bytes there, and here an entry for each message.
func (t *tables) full(bytes int64) bool {
	return t.frozen != nil && t.live.size+t.frozen.size >= bytes
}

// add takes note of a commit to the table, whose batch takes so many bytes.
func (t *table) add(c *commit, size int) {
	t.size += int64(size)
	t.secret = t.secret || c.secret
	t.dirty = true
}

// merge returns a table with what is in t and then in newer.
func (t *table) merge(newer *table) *table {
	m := t.fork()
	for no, b := range newer.buckets {
		if n := newer.sequences[no]; n != 0 {
			m.sequences[no] = n
		}
		if b == nil {
			continue
		}
		own := m.own(no)
		b.Scan(func(key string, v value) bool {
			old, had := own.Get(key)
			switch {
			case had && old.fresh && v.b == nil:
				own.Delete(key)
			case had:
				own.Set(key, value{v.b, old.fresh})
			default:
				own.Set(key, v)
			}
			return true
		})
	}
	m.dirty, m.secret = m.dirty || newer.dirty, m.secret || newer.secret
	m.last, m.size = max(m.last, newer.last), m.size+newer.size
	m.replica = newer.replica
	return m
}
