package disk

// SyncDir has nothing to do: NTFS writes names to its journal in order, and a folder cannot be flushed.
func (system) SyncDir(string) error { return nil }
