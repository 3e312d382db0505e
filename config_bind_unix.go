//go:build unix

package main

import (
	"context"
	"net"
	"os"
	"strconv"
	"syscall"
)

// bindable returns why an address cannot be listened on, nil where it can. It binds and does not
// listen: so nobody can connect meanwhile, and a listener of this program may begin.
func bindable(ctx context.Context, addr string) error {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	if host == "" {
		return bind(net.IPAddr{IP: net.IPv4zero}, port)
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return err
	}
	for _, ip := range ips {
		if err = bind(ip, port); err == nil { // of a name, one is enough
			return nil
		}
	}
	return err
}

func bind(ip net.IPAddr, port int) error {
	family := syscall.AF_INET6
	var to syscall.Sockaddr
	if four := ip.IP.To4(); four != nil {
		family, to = syscall.AF_INET, &syscall.SockaddrInet4{Port: port, Addr: [4]byte(four)}
	} else {
		six := &syscall.SockaddrInet6{Port: port, Addr: [16]byte(ip.IP.To16())}
		if zone, err := net.InterfaceByName(ip.Zone); err == nil {
			six.ZoneId = uint32(zone.Index)
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
