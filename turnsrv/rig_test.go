package turnsrv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/stun/v3"

	"rtcd/internal/leak"
	"rtcd/turnsrv/relay"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/turnsrv") }

const (
	testRealm = "rtc.test"
	testUser  = "1999999999:alice"
	testPass  = "swordfish"
)

// userKeys knows user names and their passwords.
type userKeys map[string]string

func (k userKeys) Lookup(name string, _ int64) relay.Login {
	p, ok := k[name]
	if !ok {
		return relay.Login{}
	}
	_, user, _ := strings.Cut(name, ":")
	return relay.Login{Verdict: relay.Valid, Passwords: []string{p}, User: user}
}

func (k userKeys) Username([32]byte) (string, bool) { return "", false }

// events collects what OnEvent tells.
type events struct {
	mu   sync.Mutex
	list []relay.Event
}

func (e *events) add(v relay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, v)
}

// closed returns the last event that an allocation was closed.
func (e *events) closed() (last relay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range e.list {
		if v.Kind == relay.Closed {
			last = v
		}
	}
	return last
}

// testOptions are those of a server that relays between loopback addresses.
func testOptions(listeners ...Listener) Options {
	lo4, lo6 := netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()
	return Options{
		Listeners: listeners, Realm: testRealm, Keys: userKeys{testUser: testPass},
		NonceKey: []byte("0123456789abcdef"),
		Policy: relay.Policy{
			Relays:   []relay.RelayIP{{Local: lo4, Public: lo4}, {Local: lo6, Public: lo6}},
			Allow:    []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
			PortRest: -1,
			Limits:   relay.Limits{Bandwidth: -1, Unauthenticated: relay.Rate{N: -1}, AllocationsPerUser: -1, AllocationsPerIP: -1},
		},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// serve runs a server until the test ends.
func serve(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Listen(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if n := s.panics.Load(); n != 0 {
			t.Errorf("%d panics", n)
		}
	})
	return s
}

// metric returns the sum of a server's counters whose name, or name{label}, is this.
func metric(s *Server, name, label string) (sum uint64) {
	for _, m := range s.Metrics() {
		if m.Name != name {
			continue
		}
		hit := label == ""
		for _, l := range m.Labels {
			hit = hit || l.Value == label
		}
		if hit {
			sum += m.Value
		}
	}
	return sum
}

// eventually waits until f holds; real sockets take a moment.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// selfSigned is a certificate for the loopback addresses, and who trusts it.
var selfSigned = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0), // synctest begins in 2000
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, _ := x509.ParseCertificate(der)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

func testTLS() *tls.Config {
	cert, _ := selfSigned()
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// client is a TURN client that does what it is told, over any net.Conn.
type client struct {
	t      testing.TB
	nc     net.Conn
	stream bool
	padded bool   // ChannelData comes padded
	buf    []byte // of the stream, not yet taken
	user   string
	pass   string
	nonce  string
}

func newClient(t testing.TB, nc net.Conn, stream bool) *client {
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc, stream: stream, padded: stream, user: testUser, pass: testPass}
}

// dial connects a client to the first address of a transport.
func dial(t testing.TB, s *Server, tr relay.Transport) *client {
	t.Helper()
	to := s.Addrs(tr)[0]
	if to.Addr() == netip.IPv4Unspecified() {
		to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
	}
	return dialAt(t, to, tr)
}

func dialAt(t testing.TB, to netip.AddrPort, tr relay.Transport) *client {
	t.Helper()
	var nc net.Conn
	var err error
	switch tr {
	case relay.UDP:
		nc, err = net.Dial("udp", to.String())
	case relay.TCP:
		nc, err = net.Dial("tcp", to.String())
	case relay.TLS:
		_, pool := selfSigned()
		nc, err = tls.Dial("tcp", to.String(), &tls.Config{RootCAs: pool, ServerName: "localhost"})
	case relay.DTLS:
		nc, err = dialDTLS(to)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, nc, tr.Stream())
	c.padded = tr != relay.UDP
	return c
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read returns the next message, or an error.
func (c *client) read() ([]byte, error) {
	c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	chunk := make([]byte, 70000)
	for {
		if c.stream {
			if n, err := ScanFrame(c.buf, maxFrame); n > 0 || err != nil {
				m := c.buf[:n]
				c.buf = c.buf[n:]
				return m, err
			}
		}
		n, err := c.nc.Read(chunk)
		if err != nil {
			return nil, err
		}
		if !c.stream {
			return chunk[:n], nil
		}
		c.buf = append(c.buf, chunk[:n]...)
	}
}

// roundTrip sends a request and returns its answer, passing over data.
func (c *client) roundTrip(m *stun.Message) *stun.Message {
	c.t.Helper()
	c.write(m.Raw)
	for {
		b, err := c.read()
		if err != nil {
			c.t.Fatalf("no answer to %v: %v", m.Type, err)
		}
		a := &stun.Message{Raw: append([]byte(nil), b...)}
		if b[0]>>6 == 0 && a.Decode() == nil && a.TransactionID == m.TransactionID {
			return a
		}
	}
}

// request does a request with credentials, fetching a nonce first if need be.
func (c *client) request(method stun.Method, attrs ...stun.Setter) *stun.Message {
	c.t.Helper()
	typ := stun.NewType(method, stun.ClassRequest)
	if c.nonce == "" {
		challenge := c.roundTrip(stun.MustBuild(stun.TransactionID, typ))
		c.nonce = string(attr(challenge, stun.AttrNonce))
	}
	set := append([]stun.Setter{stun.TransactionID, typ}, attrs...)
	set = append(set, stun.NewUsername(c.user), stun.NewRealm(testRealm), stun.NewNonce(c.nonce),
		stun.NewLongTermIntegrity(c.user, testRealm, c.pass), stun.Fingerprint)
	return c.roundTrip(stun.MustBuild(set...))
}

func attr(m *stun.Message, t stun.AttrType) []byte {
	v, _ := m.Get(t)
	return v
}

// code returns the error code of an answer, 0 for success.
func code(m *stun.Message) int {
	if m.Type.Class == stun.ClassSuccessResponse {
		return 0
	}
	var e stun.ErrorCodeAttribute
	if e.GetFrom(m) != nil {
		return -1
	}
	return int(e.Code)
}

func (c *client) wantOK(m *stun.Message) *stun.Message {
	c.t.Helper()
	if n := code(m); n != 0 {
		c.t.Fatalf("%v: want success, got %d", m.Type.Method, n)
	}
	return m
}

func raw(t stun.AttrType, v ...byte) stun.Setter { return stun.RawAttribute{Type: t, Value: v} }

// allocate makes an allocation of a family (1 or 2) and returns its address.
func (c *client) allocate(family byte, more ...stun.Setter) netip.AddrPort {
	c.t.Helper()
	a := c.wantOK(c.request(stun.MethodAllocate, append(more,
		raw(stun.AttrRequestedTransport, 17, 0, 0, 0), raw(stun.AttrRequestedAddressFamily, family, 0, 0, 0))...))
	var x stun.XORMappedAddress
	if err := x.GetFromAs(a, stun.AttrXORRelayedAddress); err != nil {
		c.t.Fatal(err)
	}
	ip, _ := netip.AddrFromSlice(x.IP)
	return netip.AddrPortFrom(ip.Unmap(), uint16(x.Port))
}

type xorPeer netip.AddrPort

func (p xorPeer) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

func (c *client) permit(peer netip.AddrPort) {
	c.t.Helper()
	c.wantOK(c.request(stun.MethodCreatePermission, xorPeer(peer)))
}

func (c *client) bind(number uint16, peer netip.AddrPort) {
	c.t.Helper()
	c.wantOK(c.request(stun.MethodChannelBind, raw(stun.AttrChannelNumber, byte(number>>8), byte(number), 0, 0), xorPeer(peer)))
}

// channelData is a ChannelData message, padded where they are.
func (c *client) channelData(number uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	b = append(b, data...)
	for c.padded && len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// sendIndication is a Send indication.
func sendIndication(peer netip.AddrPort, data []byte) []byte {
	return stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
		xorPeer(peer), raw(stun.AttrData, data...)).Raw
}

// wantChannelData reads until ChannelData comes, and compares it.
func (c *client) wantChannelData(number uint16, data []byte) {
	c.t.Helper()
	for {
		b, err := c.read()
		if err != nil {
			c.t.Fatalf("no ChannelData: %v", err)
		}
		if b[0]>>6 != 1 {
			continue
		}
		if want := c.channelData(number, data); !bytes.Equal(b, want) {
			c.t.Fatalf("ChannelData of %d bytes is not the one sent (%d bytes)", len(b), len(want))
		}
		return
	}
}

// wantEnd reads until the server closes the connection.
func (c *client) wantEnd() {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.t.Fatal("connection was not closed")
			}
			return
		}
	}
}

// echo is a peer that sends everything back.
func echo(t testing.TB, addr string) netip.AddrPort {
	t.Helper()
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1<<16)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			pc.WriteTo(b[:n], from)
		}
	}()
	t.Cleanup(func() { pc.Close(); <-done })
	return addrPort(pc.LocalAddr())
}

// payload is n bytes that differ.
func payload(n int) []byte {
	b := make([]byte, n)
	io.ReadFull(rand.Reader, b)
	return b
}
