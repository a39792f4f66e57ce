package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received or sent
	_   [unsafe.Sizeof(uintptr(0)) - 4]byte
}

// recvmmsg reads as many datagrams as there are and m holds, without blocking. It
// is a raw system call: it takes microseconds, and telling the scheduler costs as much.
func recvmmsg(fd int32, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)),
		unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// sendmmsg writes datagrams until one fails, which is told only if it is the first.
func sendmmsg(fd int32, m []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)),
		unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// send writes one datagram, which needs no sendmmsg: that costs 5 to 15 % more.
func send(fd int32, h *unix.Msghdr) unix.Errno {
	if h.Iovlen == 1 && h.Controllen == 0 {
		_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(h.Iov.Base)), uintptr(h.Iov.Len),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(h.Name)), uintptr(h.Namelen))
		return errno
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(h)), unix.MSG_DONTWAIT)
	return errno
}

// A sockaddr of either family fits the larger one.
type sockaddr = unix.RawSockaddrInet6

// putSockaddr writes a and returns its length.
func putSockaddr(dst *sockaddr, a netip.AddrPort) uint32 {
	if a.Addr().Is4() {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(dst))
		*four = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: swapPort(a.Port()), Addr: a.Addr().As4()}
		return unix.SizeofSockaddrInet4
	}
	*dst = sockaddr{Family: unix.AF_INET6, Port: swapPort(a.Port()), Addr: a.Addr().As16(), Scope_id: scope(a.Addr())}
	return unix.SizeofSockaddrInet6
}

// parseSockaddr is the reverse of putSockaddr. A link-local address has its zone,
// if that is asked for.
func parseSockaddr(src *sockaddr, zone bool) netip.AddrPort {
	switch src.Family {
	case unix.AF_INET:
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(src))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), swapPort(four.Port))
	case unix.AF_INET6:
		a := netip.AddrFrom16(src.Addr)
		if zone {
			a = withScope(a, src.Scope_id)
		}
		return netip.AddrPortFrom(a, swapPort(src.Port))
	}
	return netip.AddrPort{}
}

// scope returns the number of the interface that a zone names, 0 for none.
func scope(a netip.Addr) uint32 {
	zone := a.Zone()
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	i, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return uint32(i.Index)
}

func withScope(a netip.Addr, scope uint32) netip.Addr {
	if scope == 0 || !a.IsLinkLocalUnicast() {
		return a
	}
	return a.WithZone(strconv.FormatUint(uint64(scope), 10))
}

// swapPort turns a port from the machine's to the network's byte order and back.
func swapPort(p uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], p)
	return binary.BigEndian.Uint16(b[:])
}

// control is what the control messages of one datagram say.
type control struct {
	segment int        // UDP_GRO: size of each datagram, 0 = one datagram
	to      netip.Addr // IP_PKTINFO
	lost    uint32     // SO_RXQ_OVFL: datagrams dropped so far
}

// parseControl reads control messages:
//
//	length (a word, with this header), level(32), type(32), data, padding to a word
func parseControl(b []byte) (c control) {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		n := int(h.Len)
		if n < unix.SizeofCmsghdr || n > len(b) {
			return c
		}
		data := b[unix.CmsgLen(0):n]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			c.segment = int(binary.NativeEndian.Uint32(data))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			c.to = netip.AddrFrom4([4]byte(data[8:12])) // ipi_addr, behind ipi_ifindex and ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			c.to = netip.AddrFrom16([16]byte(data[:16]))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			c.lost = binary.NativeEndian.Uint32(data)
		}
		b = b[min(unix.CmsgSpace(n-unix.CmsgLen(0)), len(b)):]
	}
	return c
}

// putCmsg writes the header of a control message with n bytes of data, and returns
// where they go and the room that all of it takes.
func putCmsg(b []byte, level, typ int32, n int) (data []byte, room int) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(n))
	return b[unix.CmsgLen(0):unix.CmsgLen(n)], unix.CmsgSpace(n)
}

// putSource asks for a source address, and returns the room taken.
func putSource(b []byte, from netip.Addr) int {
	if from.Is4() {
		data, room := putCmsg(b, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		clear(data)
		four := from.As4()
		copy(data[4:8], four[:]) // ipi_spec_dst
		return room
	}
	data, room := putCmsg(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	clear(data)
	sixteen := from.As16()
	copy(data, sixteen[:])
	return room
}

// putSegment asks for segmentation, and returns the room taken.
func putSegment(b []byte, size int) int {
	data, room := putCmsg(b, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(data, uint16(size))
	return room
}
