package turnsrv

import (
	"crypto/tls"
	"net"
	"time"

	"rtcd/internal/rawtcp"
	"rtcd/turnsrv/relay"
)

// Handed is a client's connection that somebody else has accepted, on a port that TURN
// shares with another protocol.
type Handed struct {
	// Conn is the connection, its deadlines cleared: a *tls.Conn whose handshake is done,
	// else plain TCP. Who makes the former puts UnderTLS below it.
	Conn  net.Conn
	First []byte    // what was read of it already
	Since time.Time // when it was accepted: from then on it has Limits.Handshake to authenticate
}

// UnderTLS returns what has to be between TCP and a TLS connection that is to be handed
// to a Server: it writes many records at once, and as fast as the Server's own.
func UnderTLS(nc net.Conn) net.Conn { return &cork{Conn: nc} }

// Take serves a connection, TCP or TLS by its type, like one of the server's own listeners:
// within its limits, until it ends or Run does. It does not wait for that, and closes the
// connection if the limits refuse it. It may be called as soon as Listen has returned.
func (s *Server) Take(h Handed) {
	defer s.orClose(h.Conn)
	t, raw := relay.TCP, h.Conn
	var k *cork
	if secured, ok := h.Conn.(*tls.Conn); ok {
		t, raw = relay.TLS, secured.NetConn()
		if k, ok = raw.(*cork); ok {
			k.name = secured.ConnectionState().ServerName
			setStreamSockopts(k.Conn)
			k.Conn = rawtcp.Wrap(k.Conn) // nobody else reads or writes meanwhile
		}
	} else {
		setStreamSockopts(raw)
		h.Conn = rawtcp.Wrap(raw)
		raw = h.Conn
	}
	s.admit(t, raw, func() *conn {
		c := newConn(s, t, raw, h.Conn)
		c.cork, c.first = k, h.First
		if !h.Since.IsZero() {
			c.accepted = h.Since
		}
		return c
	})
}

// setStreamSockopts does for one connection what listenTCP does for all of a listener.
func setStreamSockopts(nc net.Conn) {
	if t := rawtcp.TCP(nc); t != nil {
		if raw, err := t.SyscallConn(); err == nil {
			streamSockopts("", "", raw)
		}
		t.SetKeepAliveConfig(tcpKeepAlive)
	}
}
