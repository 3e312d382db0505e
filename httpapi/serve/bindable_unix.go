//go:build unix

package serve

import (
	"net"
	"net/netip"
	"os"
	"syscall"
)

// bindable returns why an address cannot be listened on, nil where it can. It binds and does not
// listen: so nobody can connect meanwhile, and a listener of another process may begin.
func bindable(a netip.AddrPort) error {
	family := syscall.AF_INET6
	var to syscall.Sockaddr
	if a.Addr().Is4() {
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	} else {
		six := &syscall.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
		if zone, err := net.InterfaceByName(a.Addr().Zone()); err == nil {
			six.ZoneId = uint32(zone.Index) // #nosec G115 -- an index of an interface is positive
		}
		to = six
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	if family == syscall.AF_INET6 {
		if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_IPV6, syscall.IPV6_V6ONLY, 1); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	return os.NewSyscallError("bind", syscall.Bind(fd, to))
}
