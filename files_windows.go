package main

// maxFiles is 0: Windows has no limit that a process would meet.
func maxFiles() int64 { return 0 }
