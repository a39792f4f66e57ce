package turnsrv

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v3"

	"rtcd/turnsrv/relay"
)

// wire is a client's UDP socket that can be cut, so that nothing more leaves.
type wire struct {
	net.PacketConn
	cut   atomic.Bool
	first atomic.Pointer[[]byte] // what was sent first: a ClientHello
}

func (w *wire) WriteTo(b []byte, to net.Addr) (int, error) {
	if w.cut.Load() {
		return len(b), nil
	}
	if w.first.Load() == nil {
		hello := append([]byte(nil), b...)
		w.first.Store(&hello)
	}
	return w.PacketConn.WriteTo(b, to)
}

// overDTLS connects a client from one address of its own, which may be used again.
func overDTLS(t *testing.T, from string, to netip.AddrPort) (*client, *wire) {
	t.Helper()
	pc, err := net.ListenPacket("udp", from)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{PacketConn: pc}
	t.Cleanup(func() { pc.Close() })
	_, pool := selfSigned()
	nc, err := dtls.ClientWithOptions(w, net.UDPAddrFromAddrPort(to), dtls.WithRootCAs(pool), dtls.WithServerName("localhost"))
	if err != nil {
		t.Fatal(err)
	}
	nc.SetDeadline(time.Now().Add(time.Minute))
	if err := nc.Handshake(); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc, false)
	c.padded = true
	return c, w
}

// A client that lost its session and comes back from the same port gets a new one,
// and what it had ends.
func TestDTLSClientComesBack(t *testing.T) {
	var seen events
	for _, plain := range []bool{false, true} {
		o := testOptions(Listener{Transport: relay.DTLS, Addr: "127.0.0.1:0", TLS: testTLS()})
		o.UDP.Plain, o.OnEvent = plain, seen.add
		s := serve(t, o)
		to, peer := s.Addrs(relay.DTLS)[0], echo(t, "127.0.0.1:0")
		from := "127.0.0.1:0"
		for n := 1; n <= 3; n++ {
			c, w := overDTLS(t, from, to)
			from = w.LocalAddr().String()
			c.allocate(1)
			c.bind(0x4000, peer)
			c.write(c.channelData(0x4000, []byte("hello")))
			c.wantChannelData(0x4000, []byte("hello"))
			eventually(t, "the session before has ended", func() bool {
				return s.Len() == 1 && s.Connections()[relay.DTLS] == 1
			})
			if n > 1 && seen.closed().Reason != "disconnected" {
				t.Errorf("the allocation before ended %q", seen.closed().Reason)
			}
			w.cut.Store(true) // no close_notify leaves
			w.PacketConn.Close()
		}
	}
}

// A ClientHello alone, which anybody can forge, does nothing to a session.
func TestForgedClientHello(t *testing.T) {
	s := serve(t, testOptions(Listener{Transport: relay.DTLS, Addr: "127.0.0.1:0", TLS: testTLS()}))
	to, peer := s.Addrs(relay.DTLS)[0], echo(t, "127.0.0.1:0")
	c, w := overDTLS(t, "127.0.0.1:0", to)
	c.allocate(1)
	c.bind(0x4000, peer)
	for range 10 {
		if _, err := w.PacketConn.WriteTo(*w.first.Load(), net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
		c.write(c.channelData(0x4000, []byte("still here")))
		c.wantChannelData(0x4000, []byte("still here"))
	}
	c.wantOK(c.request(stun.MethodRefresh))
	if s.Len() != 1 {
		t.Error("the allocation is gone")
	}
}
