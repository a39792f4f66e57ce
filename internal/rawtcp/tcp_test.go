package rawtcp

import (
	"crypto/tls"
	"net"
	"testing"
)

// renamed is a connection with another address, and the same bytes.
type renamed struct{ net.Conn }

func (r renamed) Transparent() net.Conn { return r.Conn }

// changed is one with other bytes.
type changed struct{ net.Conn }

func (c changed) NetConn() net.Conn { return c.Conn }

func TestTCP(t *testing.T) {
	tcp := &net.TCPConn{}
	for what, c := range map[string]struct {
		nc   net.Conn
		want *net.TCPConn
	}{
		"itself":      {tcp, tcp},
		"renamed":     {renamed{renamed{tcp}}, tcp},
		"TLS":         {tls.Client(tcp, &tls.Config{}), nil},
		"changed":     {changed{tcp}, nil},
		"changed too": {renamed{changed{tcp}}, nil},
	} {
		if got := TCP(c.nc); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
