package testnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const streamBuffer = 64 << 10

type listener struct {
	net   *Net
	addr  netip.AddrPort
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		delete(l.net.streams, l.addr)
		l.net.mu.Unlock()
		close(l.done)
	})
	return nil
}

func (l *listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

// stream is one end of a connection: it reads one pipe and writes the other.
type stream struct {
	in, out     *pipe
	local, peer netip.AddrPort
}

func newStreams(from, to netip.AddrPort) (a, b *stream) {
	x, y := newPipe(), newPipe()
	return &stream{x, y, from, to}, &stream{y, x, to, from}
}

func (s *stream) Read(b []byte) (int, error)  { return s.in.read(b) }
func (s *stream) Write(b []byte) (int, error) { return s.out.write(b) }
func (s *stream) LocalAddr() net.Addr         { return net.TCPAddrFromAddrPort(s.local) }
func (s *stream) RemoteAddr() net.Addr        { return net.TCPAddrFromAddrPort(s.peer) }

func (s *stream) Close() error {
	s.in.close(true)
	s.out.close(false)
	return nil
}

func (s *stream) SetDeadline(t time.Time) error {
	s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

func (s *stream) SetReadDeadline(t time.Time) error {
	s.in.setDeadline(&s.in.reader, t)
	return nil
}

func (s *stream) SetWriteDeadline(t time.Time) error {
	s.out.setDeadline(&s.out.writer, t)
	return nil
}

// pipe is one direction of a connection.
type pipe struct {
	mu   sync.Mutex // guards all below
	cond sync.Cond
	buf  []byte

	writerGone, readerGone bool
	reader, writer         limit
}

// limit is the deadline of one side.
type limit struct {
	at    time.Time
	timer *time.Timer
}

func (l *limit) passed() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func newPipe() *pipe {
	p := &pipe{}
	p.cond.L = &p.mu
	return p
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.readerGone:
			return 0, net.ErrClosed
		case p.reader.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p.buf) > 0:
			n := copy(b, p.buf)
			p.buf = p.buf[n:]
			p.cond.Broadcast()
			return n, nil
		case p.writerGone:
			return 0, io.EOF
		}
		p.cond.Wait()
	}
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(b) {
		switch {
		case p.writerGone:
			return n, net.ErrClosed
		case p.readerGone:
			return n, io.ErrClosedPipe
		case p.writer.passed():
			return n, os.ErrDeadlineExceeded
		case len(p.buf) < streamBuffer:
			k := min(streamBuffer-len(p.buf), len(b)-n)
			p.buf = append(p.buf, b[n:n+k]...)
			n += k
			p.cond.Broadcast()
			continue
		}
		p.cond.Wait()
	}
	return n, nil
}

func (p *pipe) close(byReader bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if byReader {
		p.readerGone = true
	} else {
		p.writerGone = true
	}
	for _, l := range []*limit{&p.reader, &p.writer} {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	p.cond.Broadcast()
}

func (p *pipe) setDeadline(l *limit, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.at = t
	if !t.IsZero() {
		l.timer = time.AfterFunc(time.Until(t), p.cond.Broadcast)
	}
	p.cond.Broadcast()
}
