package mux

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"sync"
	"time"
)

// Options say what a Port does; zero values mean the defaults.
type Options struct {
	TLS      *tls.Config   // nil for plain TCP; its NextProtos get those of a Port
	Patience time.Duration // for the PROXY header, for the handshake, for the first byte; default 5 s
	Visitors *Visitors     // also the HTTP server's; default one of the Port's own
	Proxies  *Proxies      // default none
	Logger   *slog.Logger  // default slog.Default()
	Counts   *Counts       // default nobody's

	// TURN takes the clients that speak TURN, and does not wait for their end.
	TURN func(Client)
	// UnderTLS makes what lies between TCP and TLS; default nothing. It is transparent.
	UnderTLS func(net.Conn) net.Conn
	// Failed is told of TLS handshakes that failed, with what UnderTLS made; default nobody.
	Failed func(under net.Conn, err error)
}

// Client is a connection on which TURN is spoken.
type Client struct {
	Conn  net.Conn  // *tls.Conn, its handshake done; else plain TCP
	First []byte    // what was read of it already
	Since time.Time // when it was accepted
}

// Port is the listener of the connections that are HTTP.
type Port struct {
	ln    net.Listener
	o     Options
	tls   *tls.Config
	ready chan net.Conn // HTTP's, for Accept
	done  chan struct{} // closed by Close
	ended chan struct{} // closed when the listener has ended
	tasks sync.WaitGroup

	mu      sync.Mutex // guards the following
	began   bool       // there is a goroutine that accepts
	closed  bool
	err     error // why the listener has ended
	unknown map[net.Conn]struct{}
}

// New returns a Port on a listener, whose errors end it. Nothing is accepted before the first
// Accept.
func New(ln net.Listener, o Options) *Port {
	if o.Patience == 0 {
		o.Patience = 5 * time.Second
	}
	if o.Visitors == nil {
		o.Visitors = &Visitors{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Counts == nil {
		o.Counts = NewCounts("")
	}
	if o.UnderTLS == nil {
		o.UnderTLS = func(nc net.Conn) net.Conn { return nc }
	}
	p := &Port{
		ln: ln, o: o,
		ready: make(chan net.Conn), done: make(chan struct{}), ended: make(chan struct{}),
		unknown: map[net.Conn]struct{}{},
	}
	if o.TLS != nil {
		p.tls = tlsConfig(o.TLS)
	}
	return p
}

// Addr is the listener's.
func (p *Port) Addr() net.Addr { return p.ln.Addr() }

// Accept returns the next connection that is HTTP: a *tls.Conn for HTTP/2, for HTTP/1 over
// TLS one that has its methods.
func (p *Port) Accept() (net.Conn, error) {
	p.begin()
	select {
	case nc := <-p.ready:
		return nc, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-p.ended:
		p.mu.Lock()
		defer p.mu.Unlock()
		return nil, p.err
	}
}

func (p *Port) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.began && !p.closed {
		p.began = true
		// The Port owns it; the end of the listener ends it.
		p.tasks.Go(p.accept)
	}
}

func (p *Port) accept() {
	defer close(p.ended)
	for {
		nc, err := p.ln.Accept()
		if err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
			return
		}
		p.mu.Lock()
		if p.closed {
			nc.Close()
		} else {
			p.unknown[nc] = struct{}{}
			// The Port owns it; a deadline, or Close, ends it.
			p.tasks.Go(func() { p.meet(nc) })
		}
		p.mu.Unlock()
	}
}

// meet finds out what a client speaks and hands it on. A panic costs that connection.
func (p *Port) meet(nc net.Conn) {
	outcome, known := Panicked, false
	defer func() {
		if v := recover(); v != nil {
			p.o.Logger.Warn("recovered from a panic", "panic", v, "stack", string(debug.Stack()))
		}
		p.forget(nc)
		if !known {
			nc.Close()
		}
		p.o.Counts.add(outcome)
	}()
	since := time.Now()
	nc.SetDeadline(since.Add(p.o.Patience))
	from, err := p.o.Proxies.Introduce(nc)
	if err != nil {
		outcome = NoProxy
		return
	}
	p.o.Visitors.State(from, http.StateNew)
	var c Client
	c, outcome, err = p.sort(from)
	p.o.Visitors.State(from, http.StateHijacked) // who gets it counts anew
	if err != nil {
		p.o.Logger.Debug("connection turned away", "client", from.RemoteAddr().String(), "outcome", outcome, "error", err)
		return
	}
	nc.SetDeadline(time.Time{})
	c.Since = since
	switch outcome {
	case IsTURN:
		known = true
		p.o.TURN(c)
	case IsHTTP:
		select {
		case p.ready <- forHTTP(c):
			known = true
		case <-p.done:
		}
	}
}

// sort does the handshake and waits for the first byte, as far as is needed.
func (p *Port) sort(nc net.Conn) (Client, Outcome, error) {
	agreed := ""
	if p.tls != nil {
		under := p.o.UnderTLS(nc)
		secured := tls.Server(under, p.tls)
		if err := secured.Handshake(); err != nil {
			if p.o.Failed != nil {
				p.o.Failed(under, err)
			}
			sayHTTPS(err)
			return Client{}, NoTLS, err
		}
		nc, agreed = secured, secured.ConnectionState().NegotiatedProtocol
	}
	switch {
	case agreed == alpnACME:
		return Client{}, IsACME, io.EOF // the certificate was the answer
	case byALPN(agreed) == TURN:
		return Client{Conn: nc}, IsTURN, nil
	case byALPN(agreed) == HTTP:
		return Client{Conn: nc}, IsHTTP, nil
	}
	nc.SetReadDeadline(time.Now().Add(p.o.Patience))
	first, taken, err := peek(nc)
	if err != nil {
		return Client{}, silence(err), err
	}
	c := Client{Conn: nc, First: taken}
	switch Judge(first) {
	case TURN:
		return c, IsTURN, nil
	case HTTP:
		return c, IsHTTP, nil
	}
	return Client{}, IsUnknown, errUnknown
}

var errUnknown = errors.New("neither HTTP nor TURN")

// silence tells a client that said nothing in time from one that has gone.
func silence(err error) Outcome {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Silent
	}
	return Gone
}

// sayHTTPS answers a client that speaks HTTP where TLS is spoken, as http.Server does.
func sayHTTPS(err error) {
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && Judge(plain.RecordHeader[0]) == HTTP {
		io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
}

// forHTTP is the connection with its first byte back in it.
func forHTTP(c Client) net.Conn {
	secured, ok := c.Conn.(*tls.Conn)
	switch {
	case len(c.First) == 0:
		return c.Conn
	case ok:
		return &peekedTLS{secured, c.First}
	}
	return &peeked{c.Conn, c.First}
}

// take waits for the first byte of a connection and takes it.
func take(nc net.Conn) (first byte, taken []byte, err error) {
	b := make([]byte, 1)
	if _, err := io.ReadFull(nc, b); err != nil {
		return 0, nil, err
	}
	return b[0], b, nil
}

func (p *Port) forget(nc net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.unknown, nc)
}

// Close ends the listener and every connection that has not shown yet what it is.
func (p *Port) Close() error {
	p.mu.Lock()
	first := !p.closed
	p.closed = true
	for nc := range p.unknown {
		nc.Close()
	}
	p.mu.Unlock()
	if first {
		close(p.done)
	}
	err := p.ln.Close()
	p.tasks.Wait()
	return err
}
