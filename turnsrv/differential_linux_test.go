package turnsrv

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/pion/stun/v3"
	"golang.org/x/sys/unix"

	"rtcd/turnsrv/relay"
	"rtcd/turnsrv/udp"
)

// udpModes are the ways of reading and writing datagrams other than the plain one.
var udpModes = []struct {
	name     string
	options  udp.Options
	gro, gso bool // it joins what it reads, and what it writes
}{
	{"batches", udp.Options{NoGRO: true, NoGSO: true}, false, false},
	{"gro", udp.Options{NoGSO: true}, true, false},
	{"gso", udp.Options{NoGRO: true}, false, true},
	{"all", udp.Options{}, true, true},
	{"one worker", udp.Options{Workers: 1}, true, true},
	{"coalescing", udp.Options{Coalesce: udp.MaxCoalesce}, true, true},
}

// The plain path and the fast ones deliver the same bytes in the same order to
// everybody, and drop the same packets for the same reasons, whatever they are sent.
// RTCD_TEST_SEED repeats a run, RTCD_TEST_LONG lengthens it.
func TestFastAndPlainPathsDoTheSame(t *testing.T) {
	seed, steps := uint64(time.Now().UnixNano()), 500
	if v := os.Getenv("RTCD_TEST_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("RTCD_TEST_LONG") != "" {
		steps = 10_000
	}
	t.Logf("RTCD_TEST_SEED=%d", seed)
	want := play(t, udp.Options{Plain: true}, seed, steps)
	if n := want.counters["gro_segments"] + want.counters["gso_segments"]; n != 0 {
		t.Errorf("the plain path counts %d joined datagrams", n)
	}
	for _, m := range udpModes {
		t.Run(m.name, func(t *testing.T) {
			got := play(t, m.options, seed, steps)
			got.wantSame(t, want)
			if n := got.counters["gro_segments"]; (n > 0) != m.gro {
				t.Errorf("gro_segments grew by %d", n)
			}
			if n := got.counters["gso_segments"]; (n > 0) != m.gso {
				t.Errorf("gso_segments grew by %d", n)
			}
		})
	}
}

// A stage is a server with its clients and peers. It plays steps that a seed chooses,
// one at a time: each ends with a mark, a packet that passes the same sockets behind
// those of the step and comes to the marker, so that everything arrives in one order.
type stage struct {
	t       *testing.T
	rng     *rand.Rand
	srv     *Server
	stop    func() // and wait for its end: then all is counted
	clients []*actor
	peers   []*actor // the last is the marker
	names   map[netip.AddrPort]string
	marks   uint64
}

// An actor is a client or a peer.
type actor struct {
	name    string
	c       *client      // a client's
	udp     *net.UDPConn // unless it is a client over TCP
	relayed netip.AddrPort
	addr    netip.AddrPort // a peer's

	heard []string    // what has come, in its order; the reader's until done
	mark  chan uint64 // marks that have come
	done  chan struct{}
}

// Channels of each client: to a peer each, to another client, to the marker; and one
// that is not bound.
const (
	firstChannel  = 0x4000
	clientChannel = 0x4100
	markChannel   = 0x4200
	noChannel     = 0x4300
	markSize      = 24
)

var markWord = []byte("this is a mark: ")

// A transcript is what a play led to.
type transcript struct {
	heard    map[string][]string // by actor
	counters map[string]uint64
}

func play(t *testing.T, o udp.Options, seed uint64, steps int) transcript {
	st := newStage(t, o, seed)
	for range steps {
		st.step()
	}
	for _, c := range st.clients { // whatever they have not read yet comes before this
		st.markTo(c)
	}
	for _, p := range st.peers {
		st.markAt(p, p.addr)
	}
	st.stop()
	got := transcript{heard: map[string][]string{}, counters: st.counters()}
	for _, a := range append(st.clients, st.peers...) {
		a.close()
		<-a.done
		got.heard[a.name] = a.heard
	}
	return got
}

func newStage(t *testing.T, o udp.Options, seed uint64) *stage {
	opt := testOptions(everyListener("127.0.0.1")[:2]...)
	opt.UDP = o
	opt.Limits.Queue = 64 << 20
	st := &stage{t: t, rng: rand.New(rand.NewPCG(seed, 0)), names: map[netip.AddrPort]string{}}
	st.start(opt)
	for i := range 4 {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		p := st.newActor(fmt.Sprintf("peer%d", i), conn)
		p.addr = addrPort(conn.LocalAddr())
		st.names[p.addr] = p.name
		st.peers = append(st.peers, p)
	}
	for i, tr := range []relay.Transport{relay.UDP, relay.UDP, relay.UDP, relay.TCP, relay.TCP} {
		c := dial(t, st.srv, tr)
		conn, _ := c.nc.(*net.UDPConn)
		a := st.newActor(fmt.Sprintf("client%d", i), conn)
		a.c = c
		a.relayed = c.allocate(1)
		st.names[a.relayed] = "relay of " + a.name
		st.clients = append(st.clients, a)
	}
	st.introduce()
	for _, a := range append(st.clients, st.peers...) {
		// The actor owns its reader; close ends it.
		go a.listen(st.names)
	}
	return st
}

func (st *stage) start(o Options) {
	var err error
	if st.srv, err = New(o); err == nil {
		err = st.srv.Listen(st.t.Context())
	}
	if err != nil {
		st.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- st.srv.Run(ctx) }()
	st.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			st.t.Errorf("Run: %v", err)
		}
	})
	st.t.Cleanup(st.stop)
}

// introduce binds channels. Of the peers the first has a channel, the second a
// permission alone (it is the address that counts), the third comes from an address that
// nobody permits.
func (st *stage) introduce() {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)})
	if err != nil {
		st.t.Fatal(err)
	}
	stranger := st.peers[2]
	stranger.udp.Close()
	delete(st.names, stranger.addr)
	stranger.udp, stranger.addr = conn, addrPort(conn.LocalAddr())
	enlarge(conn)
	st.names[stranger.addr] = stranger.name
	for i, a := range st.clients {
		a.c.bind(firstChannel, st.peers[0].addr)
		a.c.bind(clientChannel, st.clients[(i+1)%len(st.clients)].relayed)
		a.c.bind(markChannel, st.marker().addr)
	}
}

func (st *stage) marker() *actor { return st.peers[len(st.peers)-1] }

func (st *stage) newActor(name string, conn *net.UDPConn) *actor {
	a := &actor{name: name, udp: conn, mark: make(chan uint64, 1), done: make(chan struct{})}
	if conn != nil {
		enlarge(conn)
	}
	return a
}

// enlarge makes room for what a step may bring, beyond the system's limit where we may.
func enlarge(conn *net.UDPConn) {
	conn.SetReadBuffer(4 << 20)
	raw, err := conn.SyscallConn()
	if err == nil {
		raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) })
	}
}

func (a *actor) close() {
	if a.c != nil {
		a.c.nc.Close()
	} else {
		a.udp.Close()
	}
}

// listen notes what comes.
func (a *actor) listen(names map[netip.AddrPort]string) {
	defer close(a.done)
	buf := make([]byte, 1<<16)
	for {
		if a.c == nil {
			n, from, err := a.udp.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			a.hear("datagram from "+names[from], buf[:n])
			continue
		}
		m, err := a.c.read()
		switch {
		case os.IsTimeout(err):
		case err != nil:
			return
		case m[0]>>6 == 1:
			n := int(binary.BigEndian.Uint16(m[2:]))
			a.hear(fmt.Sprintf("channel %#x, %d bytes of frame", m[:2], len(m)), m[4:4+n])
		default:
			a.hearSTUN(m, names)
		}
	}
}

// hear notes one payload, or the mark that it is.
func (a *actor) hear(how string, data []byte) {
	if rest, ok := bytes.CutPrefix(data, markWord); ok && len(data) == markSize {
		a.mark <- binary.BigEndian.Uint64(rest)
		return
	}
	a.heard = append(a.heard, fmt.Sprintf("%s: %d bytes, %x", how, len(data), sha256.Sum256(data)))
}

// hearSTUN notes a message without what differs from server to server: addresses,
// nonces, and in indications the transaction.
func (a *actor) hearSTUN(b []byte, names map[netip.AddrPort]string) {
	m := &stun.Message{Raw: bytes.Clone(b)}
	if err := m.Decode(); err != nil {
		a.heard = append(a.heard, "not STUN: "+err.Error())
		return
	}
	if m.Type.Class != stun.ClassIndication {
		a.heard = append(a.heard, fmt.Sprintf("%v, code %d, %x", m.Type, code(m), m.TransactionID))
		return
	}
	var x stun.XORMappedAddress
	if err := x.GetFromAs(m, stun.AttrXORPeerAddress); err != nil {
		a.heard = append(a.heard, fmt.Sprintf("%v without a peer", m.Type))
		return
	}
	ip, _ := netip.AddrFromSlice(x.IP)
	peer := names[netip.AddrPortFrom(ip.Unmap(), uint16(x.Port))]
	a.hear(fmt.Sprintf("%v of %d bytes from %s", m.Type, len(b), peer), attr(m, stun.AttrData))
}

// step does one thing that the seed chooses.
func (st *stage) step() {
	if st.rng.IntN(3) == 0 {
		st.fromPeer()
	} else {
		st.fromClient()
	}
}

// size is one of a payload: small, of a call, at a border, or any.
func (st *stage) size() int {
	switch st.rng.IntN(8) {
	case 0:
		return st.rng.IntN(6)
	case 1:
		borders := []int{1471, 1472, 1473, 9000, 65463, 65464, 65502, 65503}
		return borders[st.rng.IntN(len(borders))]
	case 2:
		return st.rng.IntN(65504)
	default:
		return 20 + st.rng.IntN(1400)
	}
}

// burst is how many packets of a size to send: no more than any socket on the way has
// room for.
func (st *stage) burst(size int) int {
	if st.rng.IntN(2) == 0 {
		return 1
	}
	return 1 + st.rng.IntN(min(64, 1+40_000/(size+1000)))
}

// payload is n bytes that the seed chooses.
func (st *stage) payload(n int) []byte {
	b := make([]byte, n, n+8)
	for i := 0; i < n; i += 8 {
		binary.BigEndian.PutUint64(b[i : n : n+8][:8], st.rng.Uint64())
	}
	return b
}

func (st *stage) fromPeer() {
	p, to := st.peers[st.rng.IntN(len(st.peers)-1)], st.clients[st.rng.IntN(len(st.clients))]
	size := st.size()
	var list [][]byte
	for range st.burst(size) {
		list = append(list, st.payload(size))
	}
	st.write(p.udp, list, to.relayed)
	st.markTo(to)
}

func (st *stage) fromClient() {
	a := st.clients[st.rng.IntN(len(st.clients))]
	size := st.size()
	make := st.message(a)
	var list [][]byte
	for range st.burst(size) {
		list = append(list, make(size))
	}
	if a.udp == nil {
		a.c.write(bytes.Join(list, nil))
	} else {
		st.write(a.udp, list, netip.AddrPort{})
	}
	st.markFrom(a)
}

// message chooses what a client sends, by the size of its payload.
func (st *stage) message(a *actor) func(size int) []byte {
	other := st.clients[st.rng.IntN(len(st.clients))].relayed
	peer := st.peers[st.rng.IntN(len(st.peers)-1)].addr
	channel := func(number uint16) func(int) []byte {
		return func(n int) []byte { return a.c.channelData(number, st.payload(n)) }
	}
	choices := []func(int) []byte{
		channel(firstChannel), channel(firstChannel), channel(firstChannel),
		channel(clientChannel), channel(clientChannel),
		channel(noChannel),
		func(n int) []byte {
			return st.indication(stun.MethodSend, xorPeer(peer), data(st.payload(min(n, 65_000))))
		},
		func(n int) []byte {
			return st.indication(stun.MethodSend, xorPeer(other), data(st.payload(min(n, 65_000))))
		},
		func(int) []byte { return st.indication(stun.MethodSend, xorPeer(peer)) }, // of what?
		func(int) []byte { return st.indication(stun.MethodSend, data(st.payload(8))) },
		func(int) []byte { return st.indication(stun.MethodRefresh) },
		func(int) []byte { return st.stun(stun.BindingRequest) },
		func(int) []byte { return st.stun(stun.NewType(stun.MethodRefresh, stun.ClassRequest)) }, // a 401
		func(int) []byte { return st.stun(stun.BindingRequest, raw(0x7fff, 1, 2, 3, 4)) },        // a 420
	}
	if a.udp != nil {
		choices = append(choices,
			func(n int) []byte {
				return append(a.c.channelData(firstChannel, st.payload(n)), 0, 0)[:min(n+6, 65_507)]
			},
			func(n int) []byte { b := a.c.channelData(firstChannel, st.payload(n)); return b[:len(b)-min(n, 1)] },
			func(n int) []byte { return append([]byte{0xff}, st.payload(min(n, 65_000))...) },
			func(n int) []byte { return append([]byte{0}, st.payload(min(n, 65_000))...) },
			func(n int) []byte { return st.payload(n % 4) },
		)
	}
	return choices[st.rng.IntN(len(choices))]
}

func data(b []byte) stun.Setter { return stun.RawAttribute{Type: stun.AttrData, Value: b} }

func (st *stage) indication(method stun.Method, attrs ...stun.Setter) []byte {
	return st.stun(stun.NewType(method, stun.ClassIndication), attrs...)
}

// stun builds a message whose transaction the seed chooses.
func (st *stage) stun(typ stun.MessageType, attrs ...stun.Setter) []byte {
	id := stun.NewTransactionIDSetter([stun.TransactionIDSize]byte(st.payload(stun.TransactionIDSize)))
	return stun.MustBuild(append([]stun.Setter{id, typ}, attrs...)...).Raw
}

// write sends datagrams, joined (UDP_SEGMENT in udp(7)) where they may be and the seed
// says so. to is invalid on connected sockets.
func (st *stage) write(conn *net.UDPConn, list [][]byte, to netip.AddrPort) {
	n := len(list[0])
	joined := st.rng.IntN(2) == 0 && len(list) > 1 && n > 0 && len(list)*n <= 65_000
	for _, b := range list {
		joined = joined && len(b) == n
	}
	if joined {
		oob := make([]byte, unix.CmsgSpace(2))
		h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(n))
		if _, _, err := conn.WriteMsgUDPAddrPort(bytes.Join(list, nil), oob, to); err != nil {
			st.t.Fatalf("%d times %d bytes: %v", len(list), n, err)
		}
		return
	}
	for _, b := range list {
		if _, _, err := conn.WriteMsgUDPAddrPort(b, nil, to); err != nil {
			st.t.Fatalf("%d bytes: %v", len(b), err)
		}
	}
}

func (st *stage) nextMark() []byte {
	st.marks++
	return binary.BigEndian.AppendUint64(bytes.Clone(markWord), st.marks)
}

// markFrom waits until the server has done with all that a client has sent.
func (st *stage) markFrom(a *actor) {
	a.c.write(a.c.channelData(markChannel, st.nextMark()))
	st.await(st.marker())
}

// markTo waits until a client has all that its relayed address was sent.
func (st *stage) markTo(a *actor) { st.markAt(a, a.relayed) }

// markAt waits until an actor has all that was sent to an address.
func (st *stage) markAt(a *actor, to netip.AddrPort) {
	if _, err := st.marker().udp.WriteToUDPAddrPort(st.nextMark(), to); err != nil {
		st.t.Fatal(err)
	}
	st.await(a)
}

func (st *stage) await(a *actor) {
	st.t.Helper()
	select {
	case n := <-a.mark:
		if n != st.marks {
			st.t.Fatalf("%s: mark %d, want %d", a.name, n, st.marks)
		}
	case <-time.After(time.Minute):
		st.t.Fatalf("%s: mark %d never came", a.name, st.marks)
	}
}

// counters are the server's, by name and labels.
func (st *stage) counters() map[string]uint64 {
	out := map[string]uint64{}
	for _, m := range st.srv.Metrics() {
		name := m.Name
		for _, l := range m.Labels {
			name += " " + l.Value
		}
		out[name] += m.Value
	}
	return out
}

// wantSame compares two plays.
func (got transcript) wantSame(t *testing.T, want transcript) {
	t.Helper()
	total := 0
	for name, list := range want.heard {
		total += len(list)
		for i := range max(len(list), len(got.heard[name])) {
			if i >= len(list) || i >= len(got.heard[name]) || list[i] != got.heard[name][i] {
				t.Errorf("%s, message %d of %d and %d: fast %s, plain %s", name, i, len(got.heard[name]), len(list),
					at(got.heard[name], i), at(list, i))
				break
			}
		}
	}
	if total == 0 {
		t.Error("nothing was delivered")
	}
	for _, kind := range []string{"dropped_packets", "relayed_packets", "relayed_bytes", "requests", "auth_failures", "udp_send_errors", "panics"} {
		for name, n := range want.counters {
			if (name == kind || len(name) > len(kind) && name[:len(kind)+1] == kind+" ") && got.counters[name] != n {
				t.Errorf("%s: fast %d, plain %d", name, got.counters[name], n)
			}
		}
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}
