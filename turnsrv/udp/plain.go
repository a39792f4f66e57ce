package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// plainLoop reads every socket with a goroutine of its own. Closing a Conn is safe
// whoever uses it, so batches need no bookkeeping here.
type plainLoop struct {
	opt  Options
	bind func(netip.AddrPort, bool) (Conn, error)
	ctr  counters
	wg   sync.WaitGroup // readers

	mu         sync.Mutex
	newHandler func(Writer) Handler // not nil while Run runs
	closed     bool
	sockets    map[*Socket]struct{}
	idle       []Handler // not in use by a reader
}

func newPlain(o Options) *plainLoop {
	l := &plainLoop{opt: o, bind: bindNet, sockets: map[*Socket]struct{}{}}
	if o.Bind != nil {
		l.bind = func(a netip.AddrPort, _ bool) (Conn, error) { return o.Bind(a) }
	}
	return l
}

func (l *plainLoop) Listen(addr netip.AddrPort, tag any) (*Socket, error) {
	return l.open(addr, tag, true)
}

func (l *plainLoop) open(addr netip.AddrPort, tag any, listener bool) (*Socket, error) {
	c, err := l.bind(addr, listener)
	if err != nil {
		if isTaken(err) {
			err = ErrTaken
		}
		return nil, fmt.Errorf("udp %v: %w", addr, err)
	}
	s := &Socket{
		Addr: c.Local(), Tag: tag, conn: c,
		listener: listener, wildcard: addr.Addr().IsUnspecified(),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return nil, fmt.Errorf("udp %v: %w", addr, ErrClosed)
	}
	l.sockets[s] = struct{}{}
	if l.newHandler != nil {
		l.startLocked(s)
	}
	return s, nil
}

// startLocked starts the reader of s. Run owns it; the closing of s ends it.
func (l *plainLoop) startLocked(s *Socket) {
	l.wg.Add(1)
	go l.read(s)
}

func (l *plainLoop) Remove(s *Socket) {
	l.mu.Lock()
	delete(l.sockets, s)
	l.mu.Unlock()
	s.conn.Close()
}

func (l *plainLoop) Run(ctx context.Context, newHandler func(Writer) Handler) error {
	l.mu.Lock()
	l.newHandler = newHandler
	for s := range l.sockets {
		l.startLocked(s)
	}
	l.mu.Unlock()
	<-ctx.Done()
	l.Close()
	l.wg.Wait()
	return nil
}

func (l *plainLoop) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for s := range l.sockets {
		s.conn.Close()
	}
	clear(l.sockets)
}

func (l *plainLoop) Stats() Stats {
	var s Stats
	l.ctr.addTo(&s)
	return s
}

// read is the life of one reader. An error that is not the closing of the socket
// (an ICMP error on some systems) must not end it.
func (l *plainLoop) read(s *Socket) {
	defer l.wg.Done()
	buf := make([]byte, 1<<16)
	for failures := 0; ; {
		n, from, to, err := s.conn.Read(buf)
		switch {
		case err == nil:
			failures = 0
			l.ctr.readCalls.Add(1)
			l.ctr.readPackets.Add(1)
			l.handle(s, from, to, buf[:n])
		case errors.Is(err, net.ErrClosed):
			return
		default:
			failures++
			time.Sleep(min(time.Duration(failures)*time.Millisecond, time.Second))
		}
	}
}

func (l *plainLoop) handle(s *Socket, from netip.AddrPort, to netip.Addr, b []byte) {
	h := l.takeHandler()
	defer func() {
		if v := recover(); v != nil {
			h.Recovered(v)
		}
		l.mu.Lock()
		l.idle = append(l.idle, h)
		l.mu.Unlock()
	}()
	h.Packet(s, from, to, b, 0)
	h.Flush()
}

func (l *plainLoop) takeHandler() Handler {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		h := l.idle[n-1]
		l.idle = l.idle[:n-1]
		return h
	}
	return l.newHandler(l.Writer())
}

// Writer returns a writer that writes each datagram at once.
func (l *plainLoop) Writer() Writer { return &plainWriter{loop: l} }

type plainWriter struct {
	loop *plainLoop
	buf  []byte // head and body joined
}

func (w *plainWriter) Begin() {}
func (w *plainWriter) Flush() {}
func (w *plainWriter) End()   {}

func (w *plainWriter) Open(addr netip.AddrPort, tag any) (*Socket, error) {
	return w.loop.open(addr, tag, false)
}

func (w *plainWriter) Send(s *Socket, m Message) {
	b := m.Body
	if len(m.Head) > 0 || m.Pad > 0 {
		w.buf = append(append(w.buf[:0], m.Head...), m.Body...)
		w.buf = append(w.buf, zeros[:m.Pad]...)
		b = w.buf
	}
	from := m.From
	if !s.wildcard {
		from = netip.Addr{}
	}
	err := s.conn.Write(b, m.To, from)
	c := &w.loop.ctr
	if err == nil {
		c.writeCalls.Add(1)
		c.writePackets.Add(1)
		return
	}
	var errno syscall.Errno
	errors.As(err, &errno)
	c.countError(errno)
}

var zeros [4]byte // padding

// countError counts one datagram that could not be sent.
func (c *counters) countError(errno syscall.Errno) {
	switch errno {
	case syscall.EAGAIN, syscall.ENOBUFS, syscall.ENOMEM:
		c.full.Add(1)
	case syscall.EMSGSIZE:
		c.big.Add(1)
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ECONNREFUSED, syscall.EPERM, syscall.EACCES,
		syscall.EADDRNOTAVAIL, syscall.ENETDOWN, syscall.EHOSTDOWN:
		c.unreach.Add(1)
	default:
		c.failed.Add(1)
	}
}
