package turnsrv

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/stun/v3"

	"rtcd/internal/testnet"
	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// In these tests time is synctest's and the network is in memory: hours pass in
// milliseconds, and nothing depends on the machine's speed.

var (
	fakeServer = netip.MustParseAddrPort("11.22.33.1:3478")
	fakeTLS    = netip.MustParseAddrPort("11.22.33.1:5349")
	fakeRelay  = netip.MustParseAddr("11.22.33.2")
	fakeClient = netip.MustParseAddr("11.22.44.1")
	fakePeer   = netip.MustParseAddrPort("11.22.55.1:7000")
)

// world is a server on a network in memory.
type world struct {
	t    *testing.T
	net  *testnet.Net
	srv  *Server
	ev   events
	stop func()
}

// inWorld runs f in a bubble with a server, and ends the server.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, net: testnet.New()}
		o := testOptions(
			Listener{Transport: relay.UDP, Addr: fakeServer.String()},
			Listener{Transport: relay.TCP, Addr: fakeServer.String()},
			Listener{Transport: relay.TLS, Addr: fakeTLS.String(), TLS: testTLS()},
			Listener{Transport: relay.DTLS, Addr: fakeTLS.String(), TLS: testTLS()},
		)
		o.Policy.Relays = []relay.RelayIP{{Local: fakeRelay, Public: fakeRelay}}
		o.UDP.Bind = func(a netip.AddrPort) (udp.Conn, error) { return w.net.ListenPacket(a) }
		o.Listen = w.net.Listen
		o.OnEvent = w.ev.add
		var err error
		if w.srv, err = New(o); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.srv.Run(ctx) }()
		synctest.Wait()
		w.stop = func() {
			stop()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
		defer func() { w.stop() }()
		f(t, w)
	})
}

// packetConn makes a client of a datagram socket.
type packetConn struct {
	*testnet.Packets
	to netip.AddrPort
}

func (c packetConn) Read(b []byte) (int, error) {
	n, _, _, err := c.Packets.Read(b)
	return n, err
}

func (c packetConn) Write(b []byte) (int, error) {
	return len(b), c.Packets.Write(b, c.to, netip.Addr{})
}

func (c packetConn) RemoteAddr() net.Addr { return net.UDPAddrFromAddrPort(c.to) }

func (w *world) overUDP() *client {
	p, err := w.net.ListenPacket(netip.AddrPortFrom(fakeClient, 0))
	if err != nil {
		w.t.Fatal(err)
	}
	return newClient(w.t, packetConn{p, fakeServer}, false)
}

func (w *world) overTCP() *client {
	nc, err := w.net.Dial(netip.AddrPortFrom(fakeClient, 0), fakeServer)
	if err != nil {
		w.t.Fatal(err)
	}
	return newClient(w.t, nc, true)
}

// peer is a peer that the test speaks for.
func (w *world) peer() *testnet.Packets {
	p, err := w.net.ListenPacket(fakePeer)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.Close() })
	return p
}

// arrives reports whether a datagram is there for the peer.
func (w *world) arrives(p *testnet.Packets) bool {
	synctest.Wait()
	p.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, _, _, err := p.Read(make([]byte, 2000))
	return err == nil
}

// within sleeps until just before, f's moment, and checks that f turns from true to
// false there.
func (w *world) endsAfter(d time.Duration, what string, f func() bool) {
	w.t.Helper()
	time.Sleep(d - 10*time.Second)
	if !f() {
		w.t.Errorf("%s: over before %v", what, d)
	}
	time.Sleep(12 * time.Second)
	if f() {
		w.t.Errorf("%s: not over after %v", what, d)
	}
}

func (w *world) alive() bool { synctest.Wait(); return w.srv.Len() == 1 }

func TestAllocationExpires(t *testing.T) {
	for _, stream := range []bool{false, true} {
		inWorld(t, func(t *testing.T, w *world) {
			c := w.overUDP()
			if stream {
				c = w.overTCP()
			}
			c.allocate(1)
			w.endsAfter(600*time.Second, "an allocation", w.alive)
			if e := w.ev.closed(); e.Reason != "expired" {
				t.Errorf("closed because %q", e.Reason)
			}
		})
	}
}

func TestRefreshProlongsAnAllocation(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.overUDP()
		c.allocate(1)
		time.Sleep(590 * time.Second)
		c.wantOK(c.request(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0x0e, 0x10))) // 3600 s
		c.nonce = ""                                                                      // which is good for 600 s
		w.endsAfter(3600*time.Second, "a refreshed allocation", w.alive)
	})
}

// keepAlive refreshes the allocation while f waits for something else to expire.
func keepAlive(c *client) {
	c.nonce = ""
	c.wantOK(c.request(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0x0e, 0x10)))
}

func TestPermissionExpires(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, p := w.overUDP(), w.peer()
		c.allocate(1)
		keepAlive(c)
		c.permit(fakePeer)
		w.endsAfter(300*time.Second, "a permission", func() bool {
			c.write(sendIndication(fakePeer, []byte("hello")))
			return w.arrives(p)
		})
		if n := metric(w.srv, "dropped_packets", "no_permission"); n == 0 {
			t.Error("the drop was not counted")
		}
	})
}

func TestChannelExpires(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, p := w.overUDP(), w.peer()
		c.allocate(1)
		keepAlive(c)
		c.bind(0x4000, fakePeer)
		for range 2 { // it needs the permission too, which lasts for half the time
			time.Sleep(290 * time.Second)
			c.permit(fakePeer)
		}
		w.endsAfter(20*time.Second, "a channel of 600 s", func() bool {
			c.write(c.channelData(0x4000, []byte("hello")))
			return w.arrives(p)
		})
	})
}

func TestNonceGoesStale(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.overUDP()
		c.request(stun.MethodRefresh) // fetches the nonce
		w.endsAfter(600*time.Second, "a nonce", func() bool { return code(c.request(stun.MethodRefresh)) == 437 })
		if n := code(c.request(stun.MethodRefresh)); n != 438 {
			t.Errorf("a stale nonce is answered %d, want 438", n)
		}
	})
}

func TestReservedPortIsGivenBack(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		relayed := w.overUDP().allocate(1, raw(stun.AttrEvenPort, 0x80))
		w.endsAfter(30*time.Second, "a reserved port", func() bool {
			p, err := w.net.ListenPacket(netip.AddrPortFrom(relayed.Addr(), relayed.Port()+1))
			if err == nil {
				p.Close()
			}
			return err != nil
		})
		if !w.alive() {
			t.Error("the allocation went with it")
		}
	})
}

func TestPortsRest(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		p := w.srv.policy
		p.MinPort, p.MaxPort, p.PortRest = 50001, 50001, 2*time.Minute
		w.srv.SetPolicy(p)
		c := w.overUDP()
		c.allocate(1)
		c.wantOK(c.request(stun.MethodRefresh, raw(stun.AttrLifetime, 0, 0, 0, 0)))
		w.endsAfter(2*time.Minute, "the rest of the only port", func() bool {
			return code(c.request(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 17, 0, 0, 0))) == 508
		})
		if !w.alive() {
			t.Error("the rested port is not given out again")
		}
	})
}

// A frame may come byte by byte, but not for ever.
func TestSlowFrame(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.overTCP()
		c.allocate(1)
		frame := c.channelData(0x4000, payload(40))
		for _, b := range frame[:40] {
			c.write([]byte{b})
			time.Sleep(100 * time.Millisecond)
		}
		c.write(frame[40:]) // after 4 s
		time.Sleep(time.Minute)
		if !w.alive() {
			t.Fatal("a frame of four seconds ended the connection")
		}
		c.write(frame[:40])
		time.Sleep(4 * time.Second)
		if !w.alive() {
			t.Fatal("ended too early")
		}
		time.Sleep(2 * time.Second)
		c.wantEnd()
		if n := metric(w.srv, "connections_ended", "slow_frame"); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

// A connection that does not authenticate ends after ten seconds, whatever it says.
func TestUnauthenticatedConnection(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.overTCP()
		for range 9 {
			c.wantOK(c.roundTrip(stun.MustBuild(stun.TransactionID, stun.BindingRequest)))
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Second)
		c.wantEnd()
		if n := metric(w.srv, "connections_ended", "unauthenticated"); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

// A TLS handshake has the same ten seconds.
func TestSlowHandshake(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		nc, err := w.net.Dial(netip.AddrPortFrom(fakeClient, 0), fakeTLS)
		if err != nil {
			t.Fatal(err)
		}
		c := newClient(t, nc, true)
		c.write([]byte{0x16, 3, 1})
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if n := w.srv.Connections()[relay.TLS]; n != 1 {
			t.Fatalf("%d connections after 9 s", n)
		}
		time.Sleep(2 * time.Second)
		c.wantEnd()
		if n := metric(w.srv, "connections_ended", "handshake"); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

// A connection outlives its silence as long as it has an allocation, and some time
// beyond.
func TestIdleConnection(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.overTCP()
		c.allocate(1)
		keepAlive(c)
		connected := func() bool { synctest.Wait(); return w.srv.Connections()[relay.TCP] == 1 }
		time.Sleep(3590 * time.Second)
		if !connected() || !w.alive() {
			t.Fatal("ended though it has an allocation")
		}
		time.Sleep(20 * time.Minute)
		if connected() {
			t.Error("still there")
		}
		if n := metric(w.srv, "connections_ended", "idle"); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

// Frames in pieces and frames together are all understood.
func TestFramesInPieces(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, p := w.overTCP(), w.peer()
		c.allocate(1)
		c.bind(0x4000, fakePeer)
		var all []byte
		for n := range 100 {
			all = append(all, c.channelData(0x4000, payload(n))...)
		}
		for len(all) > 0 {
			n := min(len(all), 1+len(all)%97)
			c.write(all[:n])
			all = all[n:]
			synctest.Wait()
		}
		for n := range 100 {
			got, _, _, err := p.Read(make([]byte, 2000))
			if err != nil || got != n {
				t.Fatalf("datagram %d has %d bytes, %v", n, got, err)
			}
		}
	})
}

// A client that does not read is given up when a write has lasted too long.
func TestWriteDeadline(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c, p := w.overTCP(), w.peer()
		relayed := c.allocate(1)
		c.bind(0x4000, fakePeer)
		for range 200 {
			p.Write(payload(1000), relayed, netip.Addr{})
			synctest.Wait()
		}
		time.Sleep(4 * time.Second)
		if !w.alive() {
			t.Fatal("given up too early")
		}
		time.Sleep(2 * time.Second)
		if w.alive() {
			t.Error("its allocation is still there")
		}
		if n := metric(w.srv, "connections_ended", "slow_reader"); n != 1 {
			t.Errorf("counted %d", n)
		}
	})
}

// Shutting down tells the end of every allocation.
func TestShutdown(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.overUDP().allocate(1)
		w.overTCP().allocate(1)
		w.stop()
		closed := 0
		for _, e := range w.ev.list {
			if e.Kind == relay.Closed && e.Reason == "shutdown" {
				closed++
			}
		}
		if closed != 2 {
			t.Errorf("%d allocations ended by the shutdown, want 2", closed)
		}
		w.stop = func() {}
	})
}

// Two hundred connections that say nothing: 32 are let in, and after ten seconds none
// is left.
func TestIdleStrangers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range 200 {
			w.overTCP()
		}
		synctest.Wait()
		if n := w.srv.Connections()[relay.TCP]; n != 32 {
			t.Errorf("%d let in, want 32", n)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if n := w.srv.Connections()[relay.TCP]; n != 0 {
			t.Errorf("%d left", n)
		}
		w.overTCP().allocate(1)
	})
}

// A frame of 64 kB, a byte at a time: a stranger's ends with its header, a user's
// after five seconds.
func TestDribbledFrame(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		stranger, user := w.overTCP(), w.overTCP()
		user.allocate(1)
		header := []byte{0x40, 0, 0xff, 0xfc}
		stranger.write(header)
		stranger.wantEnd()
		user.write(header)
		for range 49 {
			user.write([]byte{0})
			time.Sleep(100 * time.Millisecond)
		}
		if !w.alive() {
			t.Error("a user's frame ended too early")
		}
		time.Sleep(time.Second)
		user.wantEnd()
		if a, b := metric(w.srv, "connections_ended", "frame_too_long"), metric(w.srv, "connections_ended", "slow_frame"); a != 1 || b != 1 {
			t.Errorf("counted %d and %d, want 1 and 1", a, b)
		}
	})
}

// A guesser's connection is closed after some tries; somebody who knows the password
// comes in from the same address.
func TestGuesserIsPutOut(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		bad := w.overTCP()
		bad.pass = "guess"
		for range 20 {
			if n := code(bad.request(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 17, 0, 0, 0))); n != 401 {
				t.Fatalf("a guess is answered %d", n)
			}
		}
		bad.write(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest),
			stun.NewUsername(bad.user), stun.NewRealm(testRealm), stun.NewNonce(bad.nonce),
			stun.NewLongTermIntegrity(bad.user, testRealm, bad.pass)).Raw)
		bad.wantEnd()
		if n := metric(w.srv, "connections_ended", "failed_logins"); n != 1 {
			t.Errorf("counted %d", n)
		}
		w.overTCP().allocate(1)
		w.overUDP().allocate(1)
	})
}
