package turnsrv

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"

	"rtcd/turnsrv/relay"
)

// Watch replaces the addresses whose clients are traced before they have named a user:
// those from which somebody runs a check.
func (s *Server) Watch(addrs []netip.Addr) { s.table.SetWatch(addrs) }

// Watched reports whether clients at an address are.
func (s *Server) Watched(addr netip.Addr) bool { return s.table.Watched(addr) }

// Traced is a snapshot of the live allocations of checks, in no order.
func (s *Server) Traced() []relay.Info { return s.table.Traced() }

// trace passes a trace on.
func (s *Server) trace(t relay.Trace) {
	if s.opt.OnTrace != nil {
		s.opt.OnTrace(t)
	}
}

// traceConn tells of a connection, if somebody at its address runs a check.
func (s *Server) traceConn(k relay.TraceKind, tr relay.Transport, client, local net.Addr, why, name string) {
	at := addrPort(client)
	if s.opt.OnTrace == nil || !s.table.Watched(at.Addr()) {
		return
	}
	s.trace(relay.Trace{Kind: k, Client: at, Local: addrPort(local), Transport: tr, Why: why, Name: name})
}

// traceHandshake tells how a TLS handshake went.
func (c *conn) traceHandshake(err error) {
	name := ""
	if c.cork != nil {
		name = c.cork.name
	}
	if err != nil {
		c.srv.traceConn(relay.TraceTLSFailed, c.client.Transport, c.raw.RemoteAddr(), c.raw.LocalAddr(), handshakeFault(err), name)
		return
	}
	version := ""
	if t, ok := c.nc.(*tls.Conn); ok {
		version = tls.VersionName(t.ConnectionState().Version)
	}
	c.srv.traceConn(relay.TraceSecured, c.client.Transport, c.raw.RemoteAddr(), c.raw.LocalAddr(), version, name)
}

// Failed traces a TLS handshake that failed on a port that TURN shares, if somebody at the
// client's address runs a check: whether it was to be TURN's nobody can know. The
// connection is what UnderTLS made.
func (s *Server) Failed(under net.Conn, err error) {
	name := ""
	if k, ok := under.(*cork); ok {
		name = k.name
	}
	s.traceConn(relay.TraceTLSFailed, relay.TLS, under.RemoteAddr(), under.LocalAddr(), handshakeFault(err), name)
}

// handshakeFault is the alert that the client has sent (RFC 8446 section 6), which says
// what it thinks of the certificate, or that it has gone, or what else went wrong.
func handshakeFault(err error) string {
	var op *net.OpError
	switch {
	case errors.As(err, &op) && op.Op == "remote error":
		return "alert: " + op.Err.Error()
	case errors.Is(err, net.ErrClosed):
		return "timeout"
	}
	return err.Error()
}

// NotesServer returns a configuration, nil for nil, that notes the server name that a
// client asks for beside what UnderTLS made, for Failed.
func NotesServer(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	return namesServer(c)
}

// namesServer returns a configuration that notes the server name that a client asks for
// beside its connection.
func namesServer(c *tls.Config) *tls.Config {
	c = c.Clone()
	before := c.GetConfigForClient
	c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if k, ok := h.Conn.(*cork); ok {
			k.name = h.ServerName
		}
		if before != nil {
			return before(h)
		}
		return nil, nil
	}
	return c
}
