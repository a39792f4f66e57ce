package turnsrv

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"

	"rtcd/turnsrv/relay"
)

// counting is a client's UDP socket that is cut after so many datagrams.
type counting struct {
	net.PacketConn
	left  int
	first []byte // a ClientHello
}

func (c *counting) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.first == nil {
		c.first = append([]byte(nil), b...)
	}
	if c.left--; c.left < 0 {
		return len(b), nil
	}
	return c.PacketConn.WriteTo(b, to)
}

// handshake does a DTLS handshake from an address; the wire takes so many datagrams.
func (w *world) handshake(from netip.AddrPort, datagrams int, timeout time.Duration) (*dtls.Conn, *counting, error) {
	w.t.Helper()
	p, err := w.net.ListenPacket(from)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.Close() })
	wire := &counting{PacketConn: p, left: datagrams}
	_, pool := selfSigned()
	nc, err := dtls.ClientWithOptions(wire, net.UDPAddrFromAddrPort(fakeTLS), dtls.WithRootCAs(pool), dtls.WithServerName("localhost"))
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err = nc.HandshakeContext(ctx); err != nil {
		nc.Close()
		p.Close()
	}
	return nc, wire, err
}

const allDatagrams = 1 << 30

// A DTLS client that crashed in its first handshake, before or after it returned the
// cookie, is served from the same port when it asks again, not after the ten seconds
// of a handshake.
func TestDTLSClientRestartsInItsFirstHandshake(t *testing.T) {
	for datagrams := 1; datagrams <= 2; datagrams++ {
		inWorld(t, func(t *testing.T, w *world) {
			from := netip.AddrPortFrom(fakeClient, 40000)
			if _, _, err := w.handshake(from, datagrams, 100*time.Millisecond); err == nil {
				t.Fatal("a handshake was done with two datagrams")
			}
			start := time.Now()
			nc, _, err := w.handshake(from, allDatagrams, 30*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 2500*time.Millisecond {
				t.Errorf("after %d datagrams: the second handshake took %v", datagrams, took)
			}
			c := newClient(t, nc, false)
			c.padded = true
			c.allocate(1)
			c.nc.Close()
		})
	}
}

// A ClientHello with a forged source does not disturb a handshake that goes on.
func TestForgedHelloInAHandshake(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		_, other, _ := w.handshake(netip.AddrPortFrom(fakeClient, 40000), 1, 100*time.Millisecond)
		from := netip.AddrPortFrom(fakeClient, 40001)
		p, err := w.net.ListenPacket(from)
		if err != nil {
			t.Fatal(err)
		}
		forging := &forgery{Packets: packetConn{p, fakeTLS}, hello: other.first}
		_, pool := selfSigned()
		nc, err := dtls.ClientWithOptions(forging, net.UDPAddrFromAddrPort(fakeTLS), dtls.WithRootCAs(pool), dtls.WithServerName("localhost"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		start := time.Now()
		if err := nc.HandshakeContext(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("the handshake took %v: something was lost", took)
		}
		c := newClient(t, nc, false)
		c.padded = true
		c.allocate(1)
		c.nc.Close()
	})
}

// forgery sends somebody else's ClientHello before each datagram but the first.
type forgery struct {
	Packets packetConn
	hello   []byte
	sent    int
}

func (f *forgery) WriteTo(b []byte, to net.Addr) (int, error) {
	if f.sent++; f.sent > 1 {
		f.Packets.WriteTo(f.hello, to)
	}
	return f.Packets.WriteTo(b, to)
}

func (f *forgery) ReadFrom(b []byte) (int, net.Addr, error) { return f.Packets.ReadFrom(b) }
func (f *forgery) Close() error                             { return f.Packets.Close() }
func (f *forgery) LocalAddr() net.Addr                      { return f.Packets.LocalAddr() }
func (f *forgery) SetDeadline(t time.Time) error            { return f.Packets.SetDeadline(t) }
func (f *forgery) SetReadDeadline(t time.Time) error        { return f.Packets.SetReadDeadline(t) }
func (f *forgery) SetWriteDeadline(t time.Time) error       { return f.Packets.SetWriteDeadline(t) }

// ClientHellos with forged sources make a bounded number of half-open connections, the
// oldest of which make room for new ones: a client that returns its cookie gets in in the
// midst of a flood, from an address that is forged too. TCP and TLS do not notice.
func TestForgedHellosAreBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.srv.opt.Limits.Unauthenticated = 100
		for i := range w.srv.gates {
			w.srv.gates[i].limits.Unauthenticated = 100
		}
		_, wire, _ := w.handshake(netip.AddrPortFrom(fakeClient, 40000), 1, 100*time.Millisecond)
		time.Sleep(10 * time.Second)
		forge := func(from netip.AddrPort) {
			p, err := w.net.ListenPacket(from)
			if err != nil {
				t.Fatal(err)
			}
			p.Write(wire.first, fakeTLS, netip.Addr{})
			p.Close()
			synctest.Wait()
		}
		elsewhere := func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 22, byte(i >> 8), byte(i)}), 41000)
		}
		halfOpen := func() int { return w.srv.Connections()[relay.DTLS] }
		for i := range 50 {
			forge(netip.AddrPortFrom(fakeClient, uint16(41000+i)))
		}
		if n := halfOpen(); n != 24 {
			t.Errorf("%d half-open connections of one address, want three quarters of 32", n)
		}
		for i := range 200 {
			forge(elsewhere(i))
		}
		if n := halfOpen(); n != 75 {
			t.Errorf("%d half-open connections, want three quarters of 100", n)
		}
		if n := metric(w.srv, "connections_refused", "cookie"); n != 250-75 {
			t.Errorf("%v made room, want %d", n, 250-75)
		}
		w.overTCP().allocate(1)
		stop, flooded := make(chan struct{}), make(chan int)
		// Ends with stop.
		go func() {
			for n := 0; ; n++ {
				select {
				case <-time.After(time.Millisecond):
					forge(elsewhere(1000 + n))
					forge(netip.AddrPortFrom(fakeClient, uint16(42000+n%1000)))
				case <-stop:
					flooded <- n
					return
				}
			}
		}()
		time.Sleep(time.Second)
		start := time.Now()
		nc, _, err := w.handshake(netip.AddrPortFrom(fakeClient, 40009), allDatagrams, 5*time.Second)
		if err != nil {
			t.Errorf("nobody gets in during a flood: %v", err)
		} else if took := time.Since(start); took > 900*time.Millisecond {
			t.Errorf("a handshake takes %v during a flood: something was lost", took)
		}
		close(stop)
		if n := <-flooded; n < 1000 {
			t.Errorf("only %d ClientHellos were forged", n)
		}
		time.Sleep(cookieTime + time.Second)
		if n := halfOpen(); err == nil && n != 1 {
			t.Errorf("%d connections after %v, want the client's alone", n, cookieTime)
		}
		nc.Close()
	})
}
