package testnet

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// Net is one network. The zero value is not ready: use New.
type Net struct {
	mu       sync.Mutex // guards all below
	packets  map[netip.AddrPort]*Packets
	streams  map[netip.AddrPort]*listener
	nextPort uint16 // for port 0
}

// New returns an empty network.
func New() *Net {
	return &Net{
		packets:  map[netip.AddrPort]*Packets{},
		streams:  map[netip.AddrPort]*listener{},
		nextPort: 20000,
	}
}

// ListenPacket binds a datagram socket; port 0 chooses one. An unspecified address
// receives for every address of its family. A bound address is syscall.EADDRINUSE.
func (n *Net) ListenPacket(addr netip.AddrPort) (*Packets, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr = n.chooseLocked(addr)
	if n.packets[addr] != nil {
		return nil, fmt.Errorf("testnet: %v: %w", addr, syscall.EADDRINUSE)
	}
	p := newPackets(n, addr)
	n.packets[addr] = p
	return p, nil
}

// Listen binds a stream listener, as ListenPacket does.
func (n *Net) Listen(addr netip.AddrPort) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	addr = n.chooseLocked(addr)
	if n.streams[addr] != nil {
		return nil, fmt.Errorf("testnet: %v: %w", addr, syscall.EADDRINUSE)
	}
	l := &listener{net: n, addr: addr, queue: make(chan net.Conn, 128), done: make(chan struct{})}
	n.streams[addr] = l
	return l, nil
}

// Dial connects a stream from one address to a listener; port 0 chooses one. Each
// direction buffers 64 KiB.
func (n *Net) Dial(from, to netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	from = n.chooseLocked(from)
	l := lookup(n.streams, to)
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("testnet: %v: %w", to, syscall.ECONNREFUSED)
	}
	ours, theirs := newStreams(from, to)
	select {
	case l.queue <- theirs:
		return ours, nil
	case <-l.done:
		return nil, fmt.Errorf("testnet: %v: %w", to, syscall.ECONNREFUSED)
	}
}

func (n *Net) chooseLocked(a netip.AddrPort) netip.AddrPort {
	if a.Port() != 0 {
		return a
	}
	n.nextPort++
	return netip.AddrPortFrom(a.Addr(), n.nextPort)
}

// lookup finds who is bound to an address, exactly or by wildcard.
func lookup[T any](m map[netip.AddrPort]*T, a netip.AddrPort) *T {
	if v := m[a]; v != nil {
		return v
	}
	any := netip.IPv4Unspecified()
	if a.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	return m[netip.AddrPortFrom(any, a.Port())]
}
