package serve

import "net"

// maxFiles is 0: Windows has no limit that a process would meet.
func maxFiles() int64 { return 0 }

// hasArrived is false: what was not read yet is not known.
func hasArrived(net.Conn) bool { return false }
