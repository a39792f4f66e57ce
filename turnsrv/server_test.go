package turnsrv

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/stun/v3"
	"github.com/pion/turn/v4"

	"rtcd/turnsrv/relay"
)

func dialDTLS(to netip.AddrPort) (net.Conn, error) {
	_, pool := selfSigned()
	return dtls.DialWithOptions("udp", net.UDPAddrFromAddrPort(to), dtls.WithRootCAs(pool), dtls.WithServerName("localhost"))
}

// everyListener is a listener of each transport on a loopback address.
func everyListener(ip string) []Listener {
	return []Listener{
		{Transport: relay.UDP, Addr: ip + ":0"},
		{Transport: relay.TCP, Addr: ip + ":0"},
		{Transport: relay.TLS, Addr: ip + ":0", TLS: testTLS()},
		{Transport: relay.DTLS, Addr: ip + ":0", TLS: testTLS()},
	}
}

// transports are all four, and each listener address that the tests use.
var (
	transports = []relay.Transport{relay.UDP, relay.TCP, relay.TLS, relay.DTLS}
	addresses  = []string{"127.0.0.1", "[::1]", ""}
)

// eachWay runs a test over every transport, address and UDP loop.
func eachWay(t *testing.T, f func(t *testing.T, s *Server, tr relay.Transport)) {
	for _, plain := range []bool{false, true} {
		for _, ip := range addresses {
			o := testOptions(everyListener(ip)...)
			o.UDP.Plain = plain
			s := serve(t, o)
			for _, tr := range transports {
				name := fmt.Sprintf("%v,addr=%s,plain=%v", tr, ip, plain)
				t.Run(name, func(t *testing.T) { f(t, s, tr) })
			}
		}
	}
}

// Every transport relays both ways, through indications and channels, to peers of
// both families, payloads small, odd and large.
func TestRelays(t *testing.T) {
	eachWay(t, func(t *testing.T, s *Server, tr relay.Transport) {
		for family, ip := range map[byte]string{1: "127.0.0.1:0", 2: "[::1]:0"} {
			c := dial(t, s, tr)
			c.allocate(family)
			peer := echo(t, ip)
			c.permit(peer)

			data := payload(101)
			c.write(sendIndication(peer, data))
			b, err := c.read()
			if err != nil {
				t.Fatal(err)
			}
			m := &stun.Message{Raw: b}
			if err := m.Decode(); err != nil || m.Type != stun.NewType(stun.MethodData, stun.ClassIndication) {
				t.Fatalf("want a Data indication, got %v (%v)", m.Type, err)
			}
			if !bytes.Equal(attr(m, stun.AttrData), data) {
				t.Fatal("the Data indication does not hold what was sent")
			}

			c.bind(0x4001, peer)
			sizes := []int{0, 1, 2, 3, 4, 1200}
			switch {
			case tr == relay.UDP:
				sizes = append(sizes, 9000, 65503)
			case tr.Stream():
				sizes = append(sizes, 9000, 65507)
			} // pion/dtls takes records of 8 KB
			for _, n := range sizes {
				data := payload(n)
				c.write(c.channelData(0x4001, data))
				c.wantChannelData(0x4001, data)
			}
		}
	})
}

// pion's client, which is not ours, finds everything in order.
func TestPionClient(t *testing.T) {
	eachWay(t, func(t *testing.T, s *Server, tr relay.Transport) {
		c := dial(t, s, tr)
		pc := net.PacketConn(turn.NewSTUNConn(c.nc))
		server := c.nc.RemoteAddr().String()
		if strings.HasPrefix(server, "[") { // it knows IPv4 addresses only, but need not use them
			if tr == relay.UDP {
				return
			}
			server = "127.0.0.1:3478"
		}
		if tr == relay.UDP {
			c.nc.Close()
			var err error
			if pc, err = net.ListenPacket("udp", "localhost:0"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { pc.Close() })
		}
		client, err := turn.NewClient(&turn.ClientConfig{
			STUNServerAddr: server, TURNServerAddr: server, Conn: pc, Username: testUser, Password: testPass, Realm: testRealm,
			LoggerFactory: &logging.DefaultLoggerFactory{Writer: io.Discard},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := client.Listen(); err != nil {
			t.Fatal(err)
		}
		mapped, err := client.SendBindingRequest()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := mapped.(*net.UDPAddr).Port, int(addrPort(pc.LocalAddr()).Port()); tr == relay.UDP && got != want {
			t.Errorf("mapped port %d, want %d", got, want)
		}
		relayed, err := client.Allocate()
		if err != nil {
			t.Fatal(err)
		}
		peer := net.UDPAddrFromAddrPort(echo(t, "127.0.0.1:0"))
		buf := make([]byte, 2000)
		for i := range 50 {
			data := payload(10*i + 10) // its framer holds empty ones back
			if _, err := relayed.WriteTo(data, peer); err != nil {
				t.Fatal(err)
			}
			relayed.SetReadDeadline(time.Now().Add(time.Minute))
			n, from, err := relayed.ReadFrom(buf)
			if err != nil {
				t.Fatalf("packet %d: %v", i, err)
			}
			if !bytes.Equal(buf[:n], data) || from.String() != peer.String() {
				t.Fatalf("packet %d: got %d bytes from %v", i, n, from)
			}
		}
		relayed.Close()
	})
}

// Two clients of this relay reach each other whatever their transports.
func TestRelayToRelay(t *testing.T) {
	s := serve(t, testOptions(everyListener("127.0.0.1")...))
	for _, ta := range transports {
		for _, tb := range transports {
			a, b := dial(t, s, ta), dial(t, s, tb)
			addrA, addrB := a.allocate(1), b.allocate(1)
			a.bind(0x4000, addrB)
			b.bind(0x4fff, addrA)
			there, back := payload(333), payload(77)
			a.write(a.channelData(0x4000, there))
			b.wantChannelData(0x4fff, there)
			b.write(b.channelData(0x4fff, back))
			a.wantChannelData(0x4000, back)
		}
	}
}

// There may be several listeners of each transport.
func TestSeveralListeners(t *testing.T) {
	ips := []string{"127.0.0.1", "127.0.0.2", "[::1]"}
	for _, plain := range []bool{false, true} {
		var listeners []Listener
		for _, ip := range ips {
			listeners = append(listeners, everyListener(ip)...)
		}
		o := testOptions(listeners...)
		o.UDP.Plain = plain
		s := serve(t, o)
		for _, tr := range transports {
			addrs := s.Addrs(tr)
			if len(addrs) != len(ips) {
				t.Fatalf("%v: listens on %v", tr, addrs)
			}
			for _, at := range addrs {
				c := dialAt(t, at, tr)
				c.wantEcho(echo(t, "127.0.0.1:0"))
			}
		}
	}
}

// wantEcho allocates, and sends through a channel to a peer that echoes.
func (c *client) wantEcho(peer netip.AddrPort) {
	c.t.Helper()
	c.allocate(1)
	c.bind(0x4000, peer)
	data := payload(50)
	c.write(c.channelData(0x4000, data))
	c.wantChannelData(0x4000, data)
}

// Answers leave from the address that was asked, also on a wildcard socket.
func TestWildcardAnswersFromTheAddressAsked(t *testing.T) {
	for _, plain := range []bool{false, true} {
		o := testOptions(Listener{Transport: relay.UDP, Addr: ":0"})
		o.UDP.Plain = plain
		s := serve(t, o)
		nc, err := net.Dial("udp", fmt.Sprintf("127.0.0.7:%d", s.Addrs(relay.UDP)[0].Port()))
		if err != nil {
			t.Fatal(err)
		}
		// A connected socket receives only from 127.0.0.7.
		c := newClient(t, nc, false)
		c.wantOK(c.roundTrip(stun.MustBuild(stun.TransactionID, stun.BindingRequest)))
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	for _, tr := range transports {
		for _, plain := range []bool{false, true} {
			first := serve(t, testOptions(Listener{Transport: tr, Addr: "127.0.0.1:0", TLS: testTLS()}))
			addr := first.Addrs(tr)[0]
			o := testOptions(
				Listener{Transport: relay.TCP, Addr: "127.0.0.1:0"},
				Listener{Transport: tr, Addr: addr.String(), TLS: testTLS()},
			)
			o.UDP.Plain = plain
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			err = s.Listen(t.Context())
			if err == nil || !strings.Contains(err.Error(), fmt.Sprint(addr.Port())) || !isTaken(err) {
				t.Errorf("%v: want an error that names port %d, got %v", tr, addr.Port(), err)
			}
		}
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	for _, l := range []Listener{
		{Transport: relay.UDP, Addr: "localhost:3478"},
		{Transport: relay.TCP, Addr: "1.2.3.4"},
		{Transport: relay.TLS, Addr: ":5349"},
		{Transport: relay.DTLS, Addr: ":5349"},
		{Transport: relay.UDP, Addr: ":x"},
	} {
		if _, err := New(testOptions(l)); err == nil || !strings.Contains(err.Error(), l.Addr) {
			t.Errorf("%v: want an error that names it, got %v", l, err)
		}
	}
}

// A relay port that another program holds is passed over.
func TestRelayPortTaken(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := addrPort(taken.LocalAddr()).Port()
	o := testOptions(Listener{Transport: relay.UDP, Addr: "127.0.0.1:0"})
	o.Policy.MinPort, o.Policy.MaxPort, o.Policy.PortRest = port, port, time.Hour
	s := serve(t, o)
	c := dial(t, s, relay.UDP)
	if got := code(c.request(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 17, 0, 0, 0))); got != 508 {
		t.Errorf("the only port is taken: want 508, got %d", got)
	}
}

// Events tell the bytes, a kill ends an allocation and tells its reason, and
// draining refuses new ones only.
func TestLifecycle(t *testing.T) {
	eachWay(t, func(t *testing.T, s *Server, tr relay.Transport) {
		c := dial(t, s, tr)
		c.allocate(1)
		peer := echo(t, "127.0.0.1:0")
		c.bind(0x4000, peer)
		c.write(c.channelData(0x4000, payload(100)))
		if _, err := c.read(); err != nil {
			t.Fatal(err)
		}
		s.Drain(true)
		defer s.Drain(false)
		if got := code(dial(t, s, tr).request(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 17, 0, 0, 0))); got != 508 {
			t.Errorf("draining: want 508, got %d", got)
		}
		c.write(c.channelData(0x4000, []byte("still")))
		c.wantChannelData(0x4000, []byte("still"))

		list := s.Allocations()
		if len(list) != 1 || list[0].Transport != tr || list[0].User != "alice" {
			t.Fatalf("allocations: %+v", list)
		}
		if list[0].SentBytes != 105 || list[0].ReceivedBytes != 105 {
			t.Errorf("bytes: sent %d, received %d, want 105", list[0].SentBytes, list[0].ReceivedBytes)
		}
		if !s.Kill(list[0].ID, "kicked") || s.Len() != 0 {
			t.Error("the allocation was not killed")
		}
		if s.Kill(list[0].ID, "kicked") || s.KillUser("alice", "kicked") != 0 {
			t.Error("killed twice")
		}
		if got := code(c.request(stun.MethodRefresh)); got != 437 {
			t.Errorf("Refresh after the kill: want 437, got %d", got)
		}
	})
}

func TestEventsTellWhy(t *testing.T) {
	var ev events
	o := testOptions(everyListener("127.0.0.1")...)
	o.OnEvent = ev.add
	s := serve(t, o)
	c := dial(t, s, relay.TCP)
	c.allocate(1)
	c.nc.Close()
	eventually(t, "a closed connection ends its allocation", func() bool { return ev.closed().Reason == "disconnected" })
	c = dial(t, s, relay.UDP)
	c.allocate(1)
	if s.KillUser("alice", "banned") != 1 || ev.closed().Reason != "banned" {
		t.Errorf("last event: %+v", ev.closed())
	}
}

// Own listeners are never peers, however generous the policy.
func TestOwnListenersAreNoPeers(t *testing.T) {
	s := serve(t, testOptions(everyListener("127.0.0.1")...))
	c := dial(t, s, relay.UDP)
	c.allocate(1)
	for i, tr := range transports {
		c.bind(0x4000+uint16(i), s.Addrs(tr)[0]) // its address may be a relayed one; its port decides
		c.write(c.channelData(0x4000+uint16(i), stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw))
		want := uint64(i + 1)
		eventually(t, "dropped", func() bool { return metric(s, "dropped_packets", "peer_denied") == want })
	}
}

// flaky is a listener that fails before it works.
type flaky struct {
	net.Listener
	failures chan error
}

func (f *flaky) Accept() (net.Conn, error) {
	select {
	case err := <-f.failures:
		return nil, err
	default:
		return f.Listener.Accept()
	}
}

// Running out of descriptors ends no listener.
func TestAcceptSurvivesErrors(t *testing.T) {
	failures := make(chan error, 3)
	for range cap(failures) {
		failures <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	o := testOptions(Listener{Transport: relay.TCP, Addr: "127.0.0.1:0"})
	o.Listen = func(a netip.AddrPort) (net.Listener, error) {
		ln, err := listenTCP(a)
		return &flaky{ln, failures}, err
	}
	s := serve(t, o)
	dial(t, s, relay.TCP).allocate(1)
	if n := metric(s, "accept_errors", ""); n == 0 {
		t.Error("no accept error is counted")
	}
}

// A panic of a callback costs a batch, not the process.
func TestPanicIsContained(t *testing.T) {
	for _, plain := range []bool{false, true} {
		boom := true
		o := testOptions(Listener{Transport: relay.UDP, Addr: "127.0.0.1:0"})
		o.UDP.Plain = plain
		o.OnEvent = func(relay.Event) {
			if boom {
				boom = false
				panic("boom")
			}
		}
		s := serve(t, o)
		c := dial(t, s, relay.UDP)
		c.allocate(1)
		c.wantOK(c.request(stun.MethodRefresh))
		if s.panics.Load() != 1 {
			t.Errorf("panics: %d, want 1", s.panics.Load())
		}
		s.panics.Store(0) // serve wants none
	}
}

// A client that reads nothing loses packets; the others lose nothing.
func TestSlowReaderSlowsNobody(t *testing.T) {
	o := testOptions(everyListener("127.0.0.1")...)
	o.Limits.Write = time.Hour
	s := serve(t, o)
	slow, quick, sender := dial(t, s, relay.TCP), dial(t, s, relay.TCP), dial(t, s, relay.TCP)
	slow.nc.(*net.TCPConn).SetReadBuffer(4096)
	from := sender.allocate(1)
	for i, c := range []*client{slow, quick} {
		addr := c.allocate(1)
		c.permit(from)
		sender.bind(0x4000+uint16(i), addr)
		c.bind(0x4100, from)
	}
	data := payload(1000)
	for i := 0; metric(s, "dropped_packets", "queue_full") == 0; i++ {
		if i == 100_000 {
			t.Fatal("the queue of the slow client never filled")
		}
		sender.write(sender.channelData(0x4000, data))
	}
	for range 20 {
		sender.write(sender.channelData(0x4001, data))
		quick.wantChannelData(0x4100, data)
	}
}

func TestTLSVersions(t *testing.T) {
	s := serve(t, testOptions(everyListener("127.0.0.1")...))
	_, pool := selfSigned()
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		nc, err := tls.Dial("tcp", s.Addrs(relay.TLS)[0].String(), &tls.Config{
			RootCAs: pool, MinVersion: version, MaxVersion: version,
		})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			newClient(t, nc, true).allocate(1)
		}
	}
}

// Too many connections of strangers are refused; those that have authenticated do
// not count, and those of DTLS count apart.
func TestConnectionLimits(t *testing.T) {
	o := testOptions(everyListener("127.0.0.1")...)
	o.Limits.ConnectionsPerIP = 3
	s := serve(t, o)
	for _, tr := range []relay.Transport{relay.TCP, relay.TLS, relay.DTLS} {
		for range 5 {
			dial(t, s, tr).allocate(1)
		}
	}
	for range 3 {
		dial(t, s, relay.TCP)
	}
	eventually(t, "strangers are counted", func() bool { return s.Connections()[relay.TCP] == 5+3 })
	nc, err := net.Dial("tcp", s.Addrs(relay.TLS)[0].String())
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, nc, true).wantEnd()
	if n := metric(s, "connections_refused", "per_ip"); n != 1 {
		t.Errorf("refused: %d, want 1", n)
	}
	dial(t, s, relay.DTLS).allocate(1)
}

// What is not TURN ends a connection at once.
func TestNotTURN(t *testing.T) {
	s := serve(t, testOptions(everyListener("127.0.0.1")...))
	for reason, bytes := range map[string][]byte{
		"not_turn":       {0x16, 3, 1, 0, 200, 1, 0, 0}, // TLS
		"frame_too_long": {0x40, 0, 0xff, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		c := dial(t, s, relay.TCP)
		c.write(bytes)
		c.wantEnd()
		eventually(t, "counted as "+reason, func() bool { return metric(s, "connections_ended", reason) > 0 })
	}
}

func TestSecondListenFails(t *testing.T) {
	s := serve(t, testOptions(Listener{Transport: relay.TCP, Addr: "127.0.0.1:0"}))
	if err := s.Listen(t.Context()); !errors.Is(err, errListening) {
		t.Errorf("got %v", err)
	}
}
