package turnsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"rtcd/internal/rawtcp"
	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// streamListener accepts TCP or TLS connections.
type streamListener struct {
	transport relay.Transport
	ln        net.Listener
	tls       *tls.Config // nil for TCP
}

// Listen binds every listener, before anything is served. When one cannot be bound
// none is, and the error names it. It may be called once.
func (s *Server) Listen(ctx context.Context) (err error) {
	if s.listening {
		return errListening
	}
	s.listening = true
	defer func() {
		if err != nil {
			s.closeListeners()
		}
	}()
	for _, l := range s.opt.Listeners {
		addrs, err := l.addrs()
		if err != nil {
			return err
		}
		for i, a := range addrs {
			if i == 1 { // the second wildcard has the port of the first
				a = netip.AddrPortFrom(a.Addr(), s.bound[len(s.bound)-1].addr.Port())
			}
			err := s.bind(l, a)
			switch {
			case err == nil:
			case i == 1 && !isTaken(err):
				s.opt.Logger.Info("no IPv6 for a listener", "listener", l.String(), "error", err)
			default:
				return describe(l, a, err)
			}
		}
	}
	s.policyMu.Lock()
	defer s.policyMu.Unlock()
	s.applyPolicyLocked(ownAddrs())
	return nil
}

func (s *Server) bind(l Listener, a netip.AddrPort) error {
	var addr netip.AddrPort
	switch l.Transport {
	case relay.UDP:
		sock, err := s.loop.Listen(a, nil)
		if err != nil {
			return err
		}
		addr = sock.Addr
	case relay.DTLS:
		d, err := listenDTLS(s, a, l.TLS)
		if err != nil {
			return err
		}
		addr = d.sock.Addr
	default:
		ln, err := s.opt.Listen(a)
		if err != nil {
			return err
		}
		addr = addrPort(ln.Addr())
		sl := &streamListener{transport: l.Transport}
		sl.ln = Patient(ln, func(err error) {
			s.acceptErrors.Add(1)
			s.sampled.warn("cannot accept a connection", "listener", addr.String(), "error", err)
		})
		if l.Transport == relay.TLS {
			sl.tls = namesServer(atLeastTLS12(l.TLS))
		}
		s.streams = append(s.streams, sl)
	}
	s.bound = append(s.bound, bound{l.Transport, addr})
	return nil
}

func atLeastTLS12(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	return c
}

func isTaken(err error) bool {
	return errors.Is(err, udp.ErrTaken) || errors.Is(err, syscall.EADDRINUSE)
}

// describe makes an error that names the port.
func describe(l Listener, a netip.AddrPort, err error) error {
	if isTaken(err) {
		return fmt.Errorf("cannot listen on %v %v: another program uses port %d: %w", l.Transport, a, a.Port(), err)
	}
	return fmt.Errorf("cannot listen on %v %v: %w", l.Transport, a, err)
}

// Close closes the listeners of a server that is not going to Run.
func (s *Server) Close() { s.closeListeners() }

func (s *Server) closeListeners() {
	s.loop.Close()
	for _, l := range s.streams {
		l.ln.Close()
	}
}

// tcpKeepAlive is how a silent peer is asked. With a TCP_USER_TIMEOUT the kernel gives up at the
// first question after that time, if only one before was not answered: so there are several
// within it, and one that is lost on the way ends nothing.
var tcpKeepAlive = net.KeepAliveConfig{Enable: true, Idle: 10 * time.Second, Interval: 2 * time.Second, Count: 5}

// listenTCP listens for one family only.
func listenTCP(a netip.AddrPort) (net.Listener, error) {
	network := "tcp4"
	if a.Addr().Is6() {
		network = "tcp6"
	}
	lc := net.ListenConfig{Control: streamSockopts, KeepAliveConfig: tcpKeepAlive}
	lc.SetMultipathTCP(false) // its connections inherit no options
	return lc.Listen(context.Background(), network, a.String())
}

// accept takes connections until the listener is closed.
func (s *Server) accept(l *streamListener) {
	for {
		nc, err := l.ln.Accept()
		if err != nil {
			return
		}
		if s.opt.Proxies != nil && s.opt.Proxies.Trusts(nc.RemoteAddr()) {
			s.introduce(l, nc)
			continue
		}
		s.welcome(l, nc)
	}
}

// introduce takes a proxy's connection in when the proxy has said whose it is. It does not
// wait for that.
func (s *Server) introduce(l *streamListener, nc net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return
	}
	s.proxied[nc] = struct{}{}
	// Run waits for it; its deadline, or shutdown, ends it.
	s.tasks.Go(func() {
		defer s.orClose(nc)
		nc.SetDeadline(time.Now().Add(s.opt.Limits.Frame))
		from, err := s.opt.Proxies.Introduce(nc)
		s.mu.Lock()
		delete(s.proxied, nc)
		s.mu.Unlock()
		if err != nil {
			s.countRefused(refusedProxy)
			nc.Close()
			return
		}
		nc.SetDeadline(time.Time{})
		s.welcome(l, from)
	})
}

// welcome takes an accepted connection in. A panic costs that connection.
func (s *Server) welcome(l *streamListener, nc net.Conn) {
	defer s.orClose(nc)
	nc = rawtcp.Wrap(nc)
	s.admit(l.transport, nc, func() *conn {
		if l.tls == nil {
			return newConn(s, l.transport, nc, nc)
		}
		k := &cork{Conn: nc}
		c := newConn(s, l.transport, nc, tls.Server(k, l.tls))
		c.cork = k
		return c
	})
}

// orClose, deferred, closes a connection if taking it in panics.
func (s *Server) orClose(nc net.Conn) {
	if v := recover(); v != nil {
		s.panicked(v)
		nc.Close()
	}
}

// admit serves a connection if the gate lets it in, else closes it.
func (s *Server) admit(t relay.Transport, nc net.Conn, make func() *conn) {
	ip, gate := addrPort(nc.RemoteAddr()).Addr(), s.gate(t)
	if why := gate.enter(ip); why != "" {
		s.countRefused(why)
		s.traceConn(relay.TraceSilenced, t, nc.RemoteAddr(), nc.LocalAddr(), why, "")
		nc.Close()
		return
	}
	s.traceConn(relay.TraceConnected, t, nc.RemoteAddr(), nc.LocalAddr(), "", "")
	c := make()
	// Run owns the connection; its end, or shutdown, ends it.
	if !s.keepConn(c, func() {
		defer func() {
			if v := recover(); v != nil {
				s.panicked(v)
			}
			s.dropConn(c)
			gate.leave(ip, c.authenticated)
		}()
		c.serve()
	}) {
		gate.leave(ip, false)
		nc.Close()
	}
}

func (s *Server) countRefused(why string) {
	n, _ := s.refused.LoadOrStore(why, new(atomic.Uint64))
	n.(*atomic.Uint64).Add(1)
}
