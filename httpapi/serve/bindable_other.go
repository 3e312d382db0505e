//go:build !unix

package serve

import "net/netip"

// bindable does not tell here: only who listens gets to know.
func bindable(netip.AddrPort) error { return nil }
