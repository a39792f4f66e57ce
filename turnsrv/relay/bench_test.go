package relay

import (
	"testing"

	"github.com/pion/stun/v3"
)

// flowBench is one allocation with one channel, and a peer.
func flowBench(b testing.TB) (*world, *caller, *Socket) {
	w := newWorld(b, func(o *Options) { o.Policy.Limits.Bandwidth, o.Policy.Limits.AllocationsPerIP = -1, -1 })
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	c.permit(peerB).want(0)
	return w, c, w.socket(c.relay)
}

func channelDataMessage(n int) []byte {
	return append([]byte{0x40, 0x00, byte(n >> 8), byte(n)}, make([]byte, n)...)
}

func BenchmarkClientToPeer(b *testing.B) {
	w, c, _ := flowBench(b)
	msg := channelDataMessage(1200)
	b.ReportAllocs()
	for b.Loop() {
		w.table.HandleClient(w.now, c.client, msg, 0, &w.batch)
		w.batch.Reset()
	}
}

func BenchmarkPeerToClient(b *testing.B) {
	w, _, s := flowBench(b)
	data := make([]byte, 1200)
	b.ReportAllocs()
	for b.Loop() {
		w.table.HandlePeer(w.now, s, peerA, data, 0, &w.batch)
		w.batch.Reset()
	}
}

func BenchmarkPeerToClientSegments(b *testing.B) {
	w, _, s := flowBench(b)
	data := make([]byte, 32*1200)
	b.ReportAllocs()
	for b.Loop() {
		w.table.HandlePeer(w.now, s, peerA, data, 1200, &w.batch)
		w.batch.Reset()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/32, "ns/packet")
}

func BenchmarkRelayToRelay(b *testing.B) {
	w, c, _ := flowBench(b)
	d := w.caller("bob", "11.22.33.102:1000")
	d.mustAllocate()
	c.bind(0x4001, d.relay).want(0)
	d.bind(0x4001, c.relay).want(0)
	msg := channelDataMessage(1200)
	msg[1] = 1
	b.ReportAllocs()
	for b.Loop() {
		w.table.HandleClient(w.now, c.client, msg, 0, &w.batch)
		w.batch.Reset()
	}
}

func BenchmarkBinding(b *testing.B) {
	w, c, _ := flowBench(b)
	w.table.SetPolicy(Policy{Limits: Limits{Binding: Rate{N: -1}}})
	msg := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	b.ReportAllocs()
	for b.Loop() {
		w.table.HandleClient(w.now, c.client, msg, 0, &w.batch)
		w.batch.Reset()
	}
}

func BenchmarkAllocateAndRelease(b *testing.B) {
	w := newWorld(b, func(o *Options) { o.Policy.PortRest, o.Policy.Limits.AllocationsPerIP = -1, -1 })
	c := w.caller("alice", "11.22.33.101:1000")
	c.exchangeChallenge()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m := c.message(stun.MethodAllocate, attrs{udpTransport})
		r := c.message(stun.MethodRefresh, attrs{lifetime(0)})
		w.opened, w.closed, w.events = w.opened[:0], w.closed[:0], w.events[:0]
		b.StartTimer()
		c.send(m.Raw)
		c.send(r.Raw)
		w.take()
	}
}

// BenchmarkWrongPassword is what a guess costs us: a thousand in a second are to take
// less than a twentieth of a core, 50 µs each.
func BenchmarkWrongPassword(b *testing.B) {
	w := newWorld(b)
	c := w.caller("alice", "11.22.33.101:1000")
	c.exchangeChallenge()
	c.password = "guess"
	m := c.message(stun.MethodAllocate, attrs{udpTransport})
	b.ReportAllocs()
	for b.Loop() {
		w.table.HandleClient(w.now, c.client, m.Raw, 0, &w.batch)
		w.batch.Reset()
	}
}

// The data path allocates nothing on the heap, whatever the way.
func TestDataPathDoesNotAllocate(t *testing.T) {
	w, c, s := flowBench(t)
	d := w.caller("bob", "11.22.33.102:1000")
	d.mustAllocate()
	c.bind(0x4001, d.relay).want(0)
	d.bind(0x4001, c.relay).want(0)
	tcp := w.connected("bob", "11.22.33.103:1000", TCP)
	tcp.mustAllocate()
	tcp.bind(0x4000, peerA).want(0)
	tcpSocket := w.socket(tcp.relay)
	msg, local, data := channelDataMessage(1200), channelDataMessage(1200), make([]byte, 1200)
	local[1] = 1
	segments := make([]byte, 32*1200)
	for name, f := range map[string]func(){
		"client to peer":         func() { w.table.HandleClient(w.now, c.client, msg, 0, &w.batch) },
		"client to peer, TCP":    func() { w.table.HandleClient(w.now, tcp.client, msg, 0, &w.batch) },
		"peer to client":         func() { w.table.HandlePeer(w.now, s, peerA, data, 0, &w.batch) },
		"peer to client, TCP":    func() { w.table.HandlePeer(w.now, tcpSocket, peerA, data, 0, &w.batch) },
		"peer to client, GRO":    func() { w.table.HandlePeer(w.now, s, peerA, segments, 1200, &w.batch) },
		"peer without a channel": func() { w.table.HandlePeer(w.now, s, peerB, data, 0, &w.batch) },
		"relay to relay":         func() { w.table.HandleClient(w.now, c.client, local, 0, &w.batch) },
		"stranger to the relay":  func() { w.table.HandlePeer(w.now, s, peerV6, data, 0, &w.batch) },
	} {
		f() // the batch grows to its size
		w.batch.Reset()
		if n := testing.AllocsPerRun(1000, func() { f(); w.batch.Reset() }); n != 0 {
			t.Errorf("%s: %v heap allocations per read", name, n)
		}
	}
}
