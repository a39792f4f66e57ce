package turnsrv

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v3"

	"rtcd/internal/testnet"
	"rtcd/turnsrv/relay"
)

// handing accepts connections for a server, as the owner of a shared port does, and hands
// them over after it has read the first byte.
func handing(t testing.TB, s *Server, secured bool) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	hand := func(nc net.Conn) {
		h := Handed{Conn: nc, First: make([]byte, 1), Since: time.Now()}
		if secured {
			c := tls.Server(UnderTLS(nc), testTLS())
			c.Handshake()
			h.Conn = c
		}
		if _, err := io.ReadFull(h.Conn, h.First); err != nil {
			nc.Close()
			return
		}
		s.Take(h)
	}
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() { hand(nc) })
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return addrPort(ln.Addr())
}

// Connections that somebody else has accepted are served like our own: nothing of them is
// lost, they relay, they are limited, and Kill ends what they hold.
func TestHandedConnections(t *testing.T) {
	for _, tr := range []relay.Transport{relay.TCP, relay.TLS} {
		t.Run(tr.String(), func(t *testing.T) {
			o := testOptions(Listener{Transport: relay.UDP, Addr: "127.0.0.1:0"})
			o.Limits.ConnectionsPerIP = 2
			var ev events
			o.OnEvent = ev.add
			s := serve(t, o)
			at := handing(t, s, tr == relay.TLS)
			c := dialAt(t, at, tr)
			c.allocate(1)
			peer := echo(t, "127.0.0.1:0")
			c.bind(0x4000, peer)
			for range 50 { // many small ones make several records at once
				data := payload(1000)
				c.write(c.channelData(0x4000, data))
				c.wantChannelData(0x4000, data)
			}
			big := payload(60000)
			c.write(c.channelData(0x4000, big))
			c.wantChannelData(0x4000, big)
			var label string
			for _, a := range s.Allocations() {
				label = a.Transport.String()
				s.Kill(a.ID, "test")
			}
			if label != tr.String() || s.Len() != 0 {
				t.Errorf("transport %q, %d allocations left", label, s.Len())
			}
			// Who has authenticated is a stranger no more; of strangers there are two.
			a, b, third := dialAt(t, at, tr), dialAt(t, at, tr), dialAt(t, at, tr)
			binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest)
			a.roundTrip(binding)
			b.roundTrip(binding)
			third.write(binding.Raw)
			third.wantEnd()
			if n := metric(s, "connections_refused", refusedPerIP); n != 1 {
				t.Errorf("%d refused", n)
			}
			// What is no TURN after all ends.
			a.nc.Close()
			eventually(t, "room for another", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return len(s.conns) == 2
			})
			web := dialAt(t, at, tr)
			web.write([]byte("GET / HTTP/1.1\r\n\r\n"))
			web.wantEnd()
		})
	}
}

// The time to authenticate counts from the accept; frames and silence are judged as usual.
func TestHandedConnectionsMeetDeadlines(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		hand := func(first string, age time.Duration) *client {
			n := testnet.New()
			at := netip.MustParseAddrPort("11.22.33.1:443")
			ln, err := n.Listen(at)
			if err != nil {
				t.Fatal(err)
			}
			out, err := n.Dial(netip.AddrPortFrom(fakeClient, 0), at)
			if err != nil {
				t.Fatal(err)
			}
			in, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			ln.Close()
			w.srv.Take(Handed{Conn: in, First: []byte(first), Since: time.Now().Add(-age)})
			return newClient(t, out, true)
		}
		for _, c := range []struct {
			first string
			age   time.Duration
			want  time.Duration
		}{{"", 4 * time.Second, 6 * time.Second}, {"\x00", 0, 5 * time.Second}, {"GET ", 0, 0}} {
			start := time.Now()
			k := hand(c.first, c.age)
			if c.want == 0 {
				k.write([]byte("/"))
			}
			k.wantEnd()
			if d := time.Since(start); d != c.want {
				t.Errorf("%q, %v old: ended after %v, want %v", c.first, c.age, d, c.want)
			}
		}
	})
}

// After the end of the server nothing is taken, and what comes is closed.
func TestHandedAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(testOptions())
		if err != nil {
			t.Fatal(err)
		}
		s.shutdown()
		in, out := net.Pipe()
		s.Take(Handed{Conn: in})
		if _, err := out.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
		s.Close()
	})
}
