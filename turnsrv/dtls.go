package turnsrv

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/transport/v4/deadline"

	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// dtlsListener sorts the datagrams of one UDP socket by client and hands them to
// pion/dtls, a connection each. The gate bounds those whose handshake is not done.
type dtlsListener struct {
	srv  *Server
	sock *udp.Socket
	opts []dtls.ServerOption

	mu    sync.Mutex // guards all below
	paths map[pathKey]*dtlsPath
	// returning holds those of clients that have a session and began another one; the
	// old one goes on until the new one's handshake is done.
	returning map[pathKey]*dtlsPath
	waiting   waiting
}

type pathKey struct {
	client netip.AddrPort
	local  netip.Addr
}

func listenDTLS(s *Server, a netip.AddrPort, c *tls.Config) (*dtlsListener, error) {
	quiet := &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	l := &dtlsListener{srv: s, paths: map[pathKey]*dtlsPath{}, returning: map[pathKey]*dtlsPath{}, opts: []dtls.ServerOption{
		dtls.WithLoggerFactory(quiet),
		dtls.WithGetCertificate(func(h *dtls.ClientHelloInfo) (cert *tls.Certificate, err error) {
			err = errPanicked // on a goroutine of pion/dtls, where nobody else recovers
			s.contain(func() { cert, err = certificate(c, h.ServerName) })
			return cert, err
		}),
	}}
	var err error
	l.sock, err = s.loop.Listen(a, l)
	return l, err
}

// certificate chooses one for a server name as package tls does.
func certificate(c *tls.Config, name string) (*tls.Certificate, error) {
	hello := &tls.ClientHelloInfo{
		ServerName:        name,
		SupportedVersions: []uint16{tls.VersionTLS12},
		SignatureSchemes: []tls.SignatureScheme{
			tls.ECDSAWithP256AndSHA256, tls.ECDSAWithP384AndSHA384, tls.PSSWithSHA256, tls.PKCS1WithSHA256, tls.Ed25519,
		},
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		},
		SupportedCurves: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
		SupportedPoints: []uint8{0},
	}
	if c.GetCertificate != nil {
		if cert, err := c.GetCertificate(hello); cert != nil || err != nil {
			return cert, err
		}
	}
	for i := range c.Certificates {
		if hello.SupportsCertificate(&c.Certificates[i]) == nil {
			return &c.Certificates[i], nil
		}
	}
	if len(c.Certificates) > 0 {
		return &c.Certificates[0], nil
	}
	return nil, errNoCertificate
}

var errNoCertificate = errors.New("no certificate")

// packet takes what came in from one client. It must not block.
func (l *dtlsListener) packet(from netip.AddrPort, to netip.Addr, b []byte, seg int) {
	if !to.IsValid() {
		to = l.sock.Addr.Addr()
	}
	if seg <= 0 {
		seg = max(len(b), 1)
	}
	for ; len(b) > 0; b = b[min(seg, len(b)):] {
		l.datagram(pathKey{from, to}, b[:min(seg, len(b))])
	}
}

func (l *dtlsListener) datagram(key pathKey, b []byte) {
	if !soundRecords(b) {
		l.srv.shellDrops.Drop(relay.Malformed, 1)
		return
	}
	if isHandshake(b) && !l.belongs(key, b) {
		return
	}
	p, returning := l.path(key, b)
	if returning != nil {
		returning.deliver(b)
	}
	if p != nil {
		p.deliver(b)
	}
	if p != nil || returning != nil || !isClientHello(b) {
		return
	}
	p = newDTLSPath(l, key)
	p.hello, p.heard = helloRandom(b), time.Now()
	p.deliver(b)
	l.wait(p)
	l.srv.admit(relay.DTLS, p, func() *conn {
		l.add(p)
		return newConn(l.srv, relay.DTLS, p, &lazyDTLS{path: p})
	})
}

// belongs reports whether a datagram may go to a handshake that its sender is in the
// midst of, if there is one. A ClientHello of another random may not: its client has
// restarted, or it is forged. Handshakes that go on are not silent for a second; so one
// that is has been given up, ends, and the ClientHello may begin another. Until the
// client is heard again nothing is repeated to it: that would be the old handshake's.
func (l *dtlsListener) belongs(key pathKey, b []byte) bool {
	l.mu.Lock()
	p := l.paths[key]
	if p == nil || p.settled {
		p = l.returning[key]
	}
	if p == nil {
		l.mu.Unlock()
		return true
	}
	now := time.Now()
	foreign := isClientHello(b) && helloRandom(b) != p.hello
	givenUp := foreign && now.Sub(p.heard) >= time.Second
	p.doubted.Store(foreign)
	if !foreign {
		p.heard = now
	}
	l.mu.Unlock()
	if givenUp {
		p.Close()
	}
	return !foreign || givenUp
}

// path returns whose a datagram is; nobody's may begin a session if it is a
// ClientHello. RFC 6347 section 4.2.8: a client may have lost its session and begin
// anew from the same port. Since anybody can forge a ClientHello, the old session
// goes on until the new handshake, which begins with the exchange of a cookie, is
// done. Till then handshake messages are the new one's, and the rest may be either's:
// the one without the keys drops it.
func (l *dtlsListener) path(key pathKey, b []byte) (p, returning *dtlsPath) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, returning = l.paths[key], l.returning[key]
	if p != nil && p.settled && isHandshake(b) && (returning != nil || isClientHello(b)) {
		p = nil
	}
	return p, returning
}

// wait notes that a connection's client has yet to return the cookie, and ends those that
// have waited longest where there are too many.
func (l *dtlsListener) wait(p *dtlsPath) {
	l.mu.Lock()
	out := l.waiting.enter(p, &l.srv.opt.Limits)
	l.mu.Unlock()
	for _, old := range out {
		l.srv.countRefused(refusedCookie)
		old.Close() // its handshake ends the connection
	}
}

// proven notes that the cookie came back.
func (l *dtlsListener) proven(p *dtlsPath) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.leave(p)
}

func (l *dtlsListener) add(p *dtlsPath) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paths[p.key] == nil {
		l.paths[p.key] = p
	} else {
		l.returning[p.key] = p
	}
}

// settle notes that a handshake is done. If the client had a session, that ends.
func (l *dtlsListener) settle(p *dtlsPath) {
	l.mu.Lock()
	old := l.paths[p.key]
	p.settled = true
	p.doubted.Store(false)
	if l.returning[p.key] == p {
		delete(l.returning, p.key)
		l.paths[p.key] = p
	}
	l.mu.Unlock()
	if old != nil && old != p {
		old.Close() // its reader ends the connection
	}
}

func (l *dtlsListener) remove(p *dtlsPath) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting.leave(p)
	switch p {
	case l.paths[p.key]:
		delete(l.paths, p.key)
	case l.returning[p.key]:
		delete(l.returning, p.key)
	}
}

// isHandshake reports whether a datagram begins with a record of a handshake:
// content type 20 or 22. Such ones tell their type in later epochs too.
func isHandshake(b []byte) bool { return len(b) > 0 && (b[0] == 20 || b[0] == 22) }

// isClientHello reports whether a datagram begins with the first message of a
// handshake, or its first fragment (RFC 6347 sections 4.1, 4.2.2 and 4.2.1):
//
//	 0  content type 22    1  version {254, 253…255}    3  epoch 0
//	13  handshake type 1  19  fragment offset 0 (24)   25  version  27  random (32 bytes)
func isClientHello(b []byte) bool {
	return len(b) >= 59 && b[0] == 22 && b[1] == 254 && b[3] == 0 && b[4] == 0 && b[13] == 1 &&
		b[19] == 0 && b[20] == 0 && b[21] == 0
}

// helloRandom is what every ClientHello of one handshake repeats.
func helloRandom(b []byte) [32]byte { return [32]byte(b[27:59]) }

// isCookie reports whether a datagram is a HelloVerifyRequest, handshake type 3: what
// pion/dtls answers before the client has shown that it gets our answers.
func isCookie(b []byte) bool { return len(b) > 13 && b[0] == 22 && b[13] == 3 }

// dtlsPath is the datagrams between one client and us, as pion/dtls wants them: a
// net.PacketConn that knows one peer.
type dtlsPath struct {
	l    *dtlsListener
	key  pathKey
	in   chan []byte
	done chan struct{}
	once sync.Once
	read *deadline.Deadline

	proven  atomic.Bool // the cookie came back
	doubted atomic.Bool // somebody began another handshake since the client was heard

	// Guarded by l.mu.
	settled bool      // the handshake is done
	hello   [32]byte  // its ClientHello's random
	heard   time.Time // when the client was last heard in its handshake

	turn, turnOfCaller *list.Element // in the listener's waiting; nil: not in it
}

// cookieTime is how long a client has to return the cookie. Who forged its address
// never does.
const cookieTime = 3 * time.Second

// pathQueue bounds the datagrams of one client that wait for decryption.
const pathQueue = 128

func newDTLSPath(l *dtlsListener, key pathKey) *dtlsPath {
	return &dtlsPath{
		l: l, key: key,
		in: make(chan []byte, pathQueue), done: make(chan struct{}), read: deadline.New(),
	}
}

// deliver queues a copy of a datagram, or drops it when the queue is full.
func (p *dtlsPath) deliver(b []byte) {
	select {
	case p.in <- append([]byte(nil), b...):
	default:
		p.l.srv.shellDrops.Drop(relay.QueueFull, 1)
	}
}

func (p *dtlsPath) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case d := <-p.in:
		return copy(b, d), p.RemoteAddr(), nil
	case <-p.done:
		return 0, nil, net.ErrClosed
	case <-p.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (p *dtlsPath) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-p.done:
		return 0, net.ErrClosed
	default:
	}
	if p.doubted.Load() {
		return len(b), nil
	}
	if !isCookie(b) && !p.proven.Swap(true) {
		p.l.proven(p)
	}
	r := p.l.srv.takeRound()
	defer p.l.srv.putRound(r)
	r.w.Send(p.l.sock, udp.Message{To: p.key.client, From: p.key.local, Body: b})
	r.w.Flush()
	return len(b), nil
}

func (p *dtlsPath) Close() error {
	p.once.Do(func() {
		close(p.done)
		p.read.Set(time.Time{}) // stops its timer
		p.l.remove(p)
	})
	return nil
}

func (p *dtlsPath) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.key.local, p.l.sock.Addr.Port()))
}

func (p *dtlsPath) RemoteAddr() net.Addr              { return net.UDPAddrFromAddrPort(p.key.client) }
func (p *dtlsPath) SetDeadline(t time.Time) error     { return p.SetReadDeadline(t) }
func (p *dtlsPath) SetReadDeadline(t time.Time) error { p.read.Set(t); return nil }
func (p *dtlsPath) SetWriteDeadline(time.Time) error  { return nil }
func (p *dtlsPath) Read(b []byte) (int, error)        { n, _, err := p.ReadFrom(b); return n, err }
func (p *dtlsPath) Write(b []byte) (int, error)       { return p.WriteTo(b, nil) }

// lazyDTLS is the net.Conn above a path. pion/dtls prepares much for a connection,
// so that is left to the connection's own goroutine: HandshakeContext.
type lazyDTLS struct {
	path *dtlsPath
	*dtls.Conn
}

func (d *lazyDTLS) HandshakeContext(ctx context.Context) (err error) {
	d.Conn, err = dtls.ServerWithOptions(d.path, d.path.RemoteAddr(), d.path.l.opts...)
	if err != nil {
		return err
	}
	forged := time.AfterFunc(cookieTime, func() {
		if !d.path.proven.Load() {
			d.path.Close()
		}
	})
	defer forged.Stop()
	if err = d.Conn.HandshakeContext(ctx); err == nil {
		d.path.l.settle(d.path)
	}
	return err
}

// Close ends pion's goroutines.
func (d *lazyDTLS) Close() error {
	if d.Conn == nil {
		return nil
	}
	return d.Conn.Close()
}

func (d *lazyDTLS) RemoteAddr() net.Addr { return d.path.RemoteAddr() }
func (d *lazyDTLS) LocalAddr() net.Addr  { return d.path.LocalAddr() }
