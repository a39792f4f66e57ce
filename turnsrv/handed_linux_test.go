package turnsrv

import (
	"net"
	"testing"

	"rtcd/internal/rawtcp"
	"rtcd/turnsrv/relay"
)

// A handed connection has the options and the fast path of our own.
func TestHandedConnectionsAreFast(t *testing.T) {
	s := serve(t, testOptions(Listener{Transport: relay.UDP, Addr: "127.0.0.1:0"}))
	for _, tr := range []relay.Transport{relay.TCP, relay.TLS} {
		c := dialAt(t, handing(t, s, tr == relay.TLS), tr)
		c.allocate(1)
		s.mu.Lock()
		for k := range s.conns {
			if k.client.Transport != tr {
				continue
			}
			below := k.nc
			if tr == relay.TLS {
				if k.cork == nil {
					t.Fatal("no cork")
				}
				below = k.cork.Conn
			}
			if _, ok := below.(rawtcp.Trier); !ok {
				t.Fatalf("%v: read and written by %T", tr, below)
			}
			wantDeadPeersGivenUp(t, rawtcp.TCP(below.(interface{ NetConn() net.Conn }).NetConn()))
		}
		s.mu.Unlock()
	}
}
