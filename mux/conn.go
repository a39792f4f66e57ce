package mux

import (
	"crypto/tls"
	"net"
)

// proxied is a connection that came through a proxy: its client's.
type proxied struct {
	net.Conn
	client net.Addr
}

func (c *proxied) RemoteAddr() net.Addr { return c.client }

// NetConn returns the connection to the proxy.
func (c *proxied) NetConn() net.Conn { return c.Conn }

// Transparent returns it too, since its bytes are the same (package rawtcp).
func (c *proxied) Transparent() net.Conn { return c.Conn }

// peeked is a TCP connection of which the first byte was read.
type peeked struct {
	net.Conn
	first []byte
}

func (c *peeked) Read(b []byte) (int, error) { return readAfter(&c.first, c.Conn, b) }

// NetConn returns the connection without that byte.
func (c *peeked) NetConn() net.Conn { return c.Conn }

// peekedTLS is a TLS connection of which the first byte was read. It is no *tls.Conn, but
// has its methods, by which http.Server knows that there is TLS.
type peekedTLS struct {
	*tls.Conn
	first []byte
}

func (c *peekedTLS) Read(b []byte) (int, error) { return readAfter(&c.first, c.Conn, b) }

// readAfter reads what is left of first, then from c.
func readAfter(first *[]byte, c net.Conn, b []byte) (int, error) {
	if len(*first) == 0 {
		return c.Read(b)
	}
	n := copy(b, *first)
	*first = (*first)[n:]
	return n, nil
}

// bare returns the connection below all others: closing it does not wait.
func bare(c net.Conn) net.Conn {
	for {
		over, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = over.NetConn()
	}
}
