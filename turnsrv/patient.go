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
// the listener keeps one in reserve. With it each waiting connection is taken and
// closed, which tells the client at once, until there are descriptors again.
func Patient(ln net.Listener, failed func(error)) net.Listener {
	return &patient{Listener: ln, failed: failed, reserve: openReserve(), closed: make(chan struct{})}
}

type patient struct {
	net.Listener
	failed  func(error)
	reserve *os.File // Accept's; nil where there is none now

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
		for isShortage(err) && p.reserve != nil {
			p.failed(err)
			nc, err = p.acceptFromReserve()
		}
		select {
		case <-p.closed:
			p.letGo(nc)
			return nil, net.ErrClosed
		default:
		}
		if err == nil {
			return nc, nil
		}
		if !errors.Is(err, errTurnedAway) {
			p.failed(err)
		}
		select {
		case <-time.After(pause):
		case <-p.closed:
		}
		if p.reserve == nil {
			p.reserve = openReserve()
		}
	}
}

// errTurnedAway says that a connection was taken and closed.
var errTurnedAway = errors.New("no descriptor for a connection")

// acceptFromReserve gives the reserve to the next connection, and takes it back from
// it unless there are descriptors again.
func (p *patient) acceptFromReserve() (net.Conn, error) {
	p.reserve.Close()
	nc, err := p.Listener.Accept()
	if p.reserve = openReserve(); p.reserve != nil || err != nil {
		return nc, err
	}
	nc.Close()
	p.reserve = openReserve()
	return nil, errTurnedAway
}

// letGo closes what Accept holds once the listener is closed.
func (p *patient) letGo(nc net.Conn) {
	if nc != nil {
		nc.Close()
	}
	if p.reserve != nil {
		p.reserve.Close()
	}
}

// Close ends the listener, and an Accept that waits.
func (p *patient) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

func openReserve() *os.File {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return nil
	}
	return f
}

// isShortage reports whether the process or the system has no descriptor left.
func isShortage(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
