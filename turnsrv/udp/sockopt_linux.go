package udp

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// features is what the kernel can do, as far as is known. What failed once is not
// tried again, and said once.
type features struct {
	log *slog.Logger
	gro atomic.Bool
	gso atomic.Int32 // largest segment that is worth trying, 0 = off
}

// leastSegment is the segment size below which UDP_SEGMENT is given up.
const leastSegment = 256

func (f *features) init(o Options) {
	f.log = o.Logger
	f.gro.Store(!o.NoGRO)
	if !o.NoGSO {
		f.gso.Store(MaxPayload)
	}
}

// enableGRO asks for joined datagrams.
func (f *features) enableGRO(fd int) {
	if !f.gro.Load() {
		return
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil && f.gro.Swap(false) {
		f.log.Info("no UDP_GRO on this kernel: datagrams are read one by one", "error", err)
	}
}

// segmentRefused notes that segments of n bytes were refused though single
// datagrams of that size are not: the way has a smaller MTU, or no segmentation.
func (f *features) segmentRefused(n int, errno unix.Errno) {
	below := int32(n - 1)
	if below < leastSegment || errno != unix.EINVAL && errno != unix.EMSGSIZE {
		below = 0
	}
	for {
		have := f.gso.Load()
		if have <= below {
			return
		}
		if f.gso.CompareAndSwap(have, below) {
			f.log.Info("UDP_SEGMENT refused: larger datagrams are written one by one", "size", n, "error", errno)
			return
		}
	}
}

// newSocket makes an unbound UDP socket for the family of addr.
func newSocket(addr netip.Addr) (int, error) {
	family := unix.AF_INET
	if addr.Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if addr.Is6() {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			unix.Close(fd)
			return -1, err
		}
	}
	return fd, nil
}

func bind(fd int, a netip.AddrPort) error {
	var err error
	if a.Addr().Is4() {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
	} else {
		err = unix.Bind(fd, &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16(), ZoneId: scope(a.Addr())})
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return ErrTaken
	}
	return err
}

func boundAddr(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	return fromSockaddr(sa), err
}

func fromSockaddr(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(withScope(netip.AddrFrom16(sa.Addr), sa.ZoneId), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// setListenerOptions makes a client socket ready. None of them is vital.
func (f *features) setListenerOptions(fd int, s *Socket) {
	setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, listenerBuffer)
	setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, listenerBuffer)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	f.enableGRO(fd)
	setFragment(fd, s.Addr.Addr(), false)
	if s.wildcard && s.Addr.Addr().Is4() {
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	} else if s.wildcard {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	}
}

// setRelayOptions makes a relay socket ready: like a listener with the kernel's
// buffers, and with ICMP errors.
func (f *features) setRelayOptions(fd int, s *Socket) {
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
	f.enableGRO(fd)
	setFragment(fd, s.Addr.Addr(), false)
	if s.Addr.Addr().Is4() {
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	} else {
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
	}
}

// setBuffer sets a buffer size beyond the system's limit where we may.
func setBuffer(fd, force, opt, size int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt, size)
	}
}

// setFragment sets or clears the DF bit of what a socket sends from now on. With it
// the kernel still sends what exceeds the path MTU that it knows, so that ICMP
// tells the sender.
func setFragment(fd int, a netip.Addr, dont bool) {
	if a.Is4() {
		v := unix.IP_PMTUDISC_DONT
		if dont {
			v = unix.IP_PMTUDISC_PROBE
		}
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, v)
		return
	}
	v := unix.IPV6_PMTUDISC_DONT
	if dont {
		v = unix.IPV6_PMTUDISC_PROBE
	}
	unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, v)
}
