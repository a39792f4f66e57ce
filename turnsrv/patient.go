package turnsrv

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Patient returns a listener whose Accept only ends with the listener: it outlasts
// every other error and tells failed of each. One goroutine may accept at a time.
//
// A process that has run out of descriptors cannot even turn a connection away, so
// one is kept in reserve. With it each waiting connection is taken and closed, which
// tells the client soon, until there are descriptors again.
func Patient(ln net.Listener, failed func(error)) net.Listener {
	reserve.fill()
	return &patient{Listener: ln, failed: failed, closed: make(chan struct{})}
}

// reserve is the process's, as descriptors are: with one each, listeners would take
// them from each other.
var reserve spare

// spare is a descriptor that waits for its use.
type spare struct {
	mu   sync.Mutex // guards file
	file *os.File   // nil where there is none now
}

// fill reports whether the reserve is there, opening it if it can.
func (s *spare) fill() (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fillLocked()
}

func (s *spare) fillLocked() (ok bool) {
	if s.file == nil {
		if f, err := os.Open(os.DevNull); err == nil {
			s.file = f
		}
	}
	return s.file != nil
}

type patient struct {
	net.Listener
	failed func(error)
	once   sync.Once
	closed chan struct{}
}

// How long Accept waits after an error that it can do nothing about.
const (
	shortestPause = 5 * time.Millisecond
	longestPause  = time.Second
)

func (p *patient) Accept() (net.Conn, error) {
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		nc, err := p.Listener.Accept()
		if err != nil && !p.isClosed() {
			p.failed(err)
		}
		if isShortage(err) {
			nc, err = p.turnAway(err)
		} else if err == nil && !reserve.fill() { // this connection has got it
			nc.Close()
			reserve.fill()
			continue
		}
		switch {
		case p.isClosed():
			if nc != nil {
				nc.Close()
			}
			return nil, net.ErrClosed
		case err == nil:
			return nc, nil
		}
		select {
		case <-time.After(pause):
		case <-p.closed:
		}
	}
}

// turnAway takes and closes the connections that wait, by means of the reserve. It
// returns one if there are descriptors again, else an error.
func (p *patient) turnAway(shortage error) (net.Conn, error) {
	reserve.mu.Lock()
	defer reserve.mu.Unlock()
	if !reserve.fillLocked() {
		return nil, shortage
	}
	if d, ok := p.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		d.SetDeadline(time.Now().Add(shortestPause)) // accept(2) did not say whether any waits
		defer d.SetDeadline(time.Time{})
	}
	reserve.file.Close()
	reserve.file = nil
	for {
		nc, err := p.Listener.Accept()
		if reserve.fillLocked() || err != nil {
			return nc, err
		}
		nc.Close()
	}
}

func (p *patient) isClosed() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

// Close ends the listener, and an Accept that waits.
func (p *patient) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

// isShortage reports whether the process or the system has no descriptor left.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
