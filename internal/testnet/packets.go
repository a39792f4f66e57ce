package testnet

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Packets is a datagram socket.
type Packets struct {
	net   *Net
	addr  netip.AddrPort
	queue chan datagram
	done  chan struct{}
	once  sync.Once
	read  deadline

	Dropped atomic.Int64 // datagrams that found the queue full
}

type datagram struct {
	from netip.AddrPort
	to   netip.Addr
	b    []byte
}

func newPackets(n *Net, addr netip.AddrPort) *Packets {
	p := &Packets{net: n, addr: addr, queue: make(chan datagram, 1024), done: make(chan struct{})}
	p.read.init()
	return p
}

// Read takes one datagram; see udp.Conn.
func (p *Packets) Read(b []byte) (n int, from netip.AddrPort, to netip.Addr, err error) {
	select {
	case d := <-p.queue:
		return copy(b, d.b), d.from, d.to, nil
	case <-p.done:
		return 0, from, to, net.ErrClosed
	case <-p.read.passed():
		return 0, from, to, os.ErrDeadlineExceeded
	}
}

// Write sends one datagram; see udp.Conn.
func (p *Packets) Write(b []byte, to netip.AddrPort, from netip.Addr) error {
	select {
	case <-p.done:
		return net.ErrClosed
	default:
	}
	src := p.addr
	if from.IsValid() {
		src = netip.AddrPortFrom(from, src.Port())
	}
	p.net.mu.Lock()
	dst := lookup(p.net.packets, to)
	p.net.mu.Unlock()
	if dst == nil {
		return nil
	}
	select {
	case dst.queue <- datagram{src, to.Addr(), append([]byte(nil), b...)}:
	default:
		dst.Dropped.Add(1)
	}
	return nil
}

// Local is the bound address.
func (p *Packets) Local() netip.AddrPort { return p.addr }

// Close frees the address and ends every Read.
func (p *Packets) Close() error {
	p.once.Do(func() {
		p.net.mu.Lock()
		delete(p.net.packets, p.addr)
		p.net.mu.Unlock()
		close(p.done)
	})
	return nil
}

// ReadFrom is Read, for net.PacketConn.
func (p *Packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, _, err := p.Read(b)
	if err != nil {
		return 0, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo is Write, for net.PacketConn.
func (p *Packets) WriteTo(b []byte, to net.Addr) (int, error) {
	if err := p.Write(b, to.(*net.UDPAddr).AddrPort(), netip.Addr{}); err != nil {
		return 0, err
	}
	return len(b), nil
}

// LocalAddr is Local, for net.PacketConn.
func (p *Packets) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(p.addr) }

// SetDeadline bounds Read; writes never block.
func (p *Packets) SetDeadline(t time.Time) error      { return p.SetReadDeadline(t) }
func (p *Packets) SetReadDeadline(t time.Time) error  { p.read.set(t); return nil }
func (p *Packets) SetWriteDeadline(t time.Time) error { return nil }

// deadline closes a channel when a time has passed.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	c     chan struct{}
}

func (d *deadline) init() { d.c = make(chan struct{}) }

func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.c
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		d.c = make(chan struct{}) // it has passed, or is about to
	}
	d.timer = nil
	select {
	case <-d.c:
		d.c = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return
	}
	c := d.c
	d.timer = time.AfterFunc(time.Until(t), func() { close(c) })
}
