package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// What strangers send, and what users do who mean harm.

// Requests without a valid MAC leave nothing behind, from however many addresses
// they come.
func TestStrangersLeaveNoState(t *testing.T) {
	w := newWorld(t)
	forger := w.caller("mallory", "11.22.33.101:1000")
	forger.exchangeChallenge()
	unsigned := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport).Raw
	signed := forger.message(stun.MethodAllocate, attrs{udpTransport}).Raw
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, answers := heap(), 0
	for i := range 100_000 {
		from := binary.BigEndian.AppendUint32(nil, uint32(0x14000000+i))
		c := &Client{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte(from)), 1000), Local: serverV4}
		w.table.HandleClient(w.now, c, unsigned, 0, &w.batch)
		w.table.HandleClient(w.now, c, signed, 0, &w.batch)
		answers += len(w.batch.Sends)
		if len(w.batch.Opens) != 0 {
			t.Fatal("a socket is opened for a stranger")
		}
		w.batch.Reset()
	}
	if grown := int64(heap()) - int64(before); grown > 1<<20 {
		t.Errorf("%d bytes more after 200,000 requests", grown)
	}
	if answers != 200_000 {
		t.Errorf("%d answers, want one each: no address sent many", answers)
	}
	if w.table.Len() != 0 || w.table.quota.total != 0 || len(w.table.quota.hosts) != 0 {
		t.Errorf("%d allocations, quota %d", w.table.Len(), w.table.quota.total)
	}
}

// A flood from one address is answered at most 120 times in ten seconds, and an IPv6
// subscriber is one address, whichever of its 2⁶⁴ it uses.
func TestFloodIsAnsweredAtALowRate(t *testing.T) {
	for _, c := range []struct {
		name string
		from func(i int) string
	}{
		{"IPv4", func(i int) string { return fmt.Sprintf("11.22.33.101:%d", 1000+i) }},
		{"IPv6 /64", func(i int) string { return fmt.Sprintf("[2a11:22:33::%x]:1000", 1+i) }},
	} {
		w := newWorld(t)
		request := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), udpTransport).Raw
		answers := 0
		for i := range 10_000 {
			w.now.Mono += time.Millisecond
			w.caller("", c.from(i)).send(request)
			answers += len(w.take())
		}
		if answers < 100 || answers > 120 {
			t.Errorf("%s: %d answers to 10,000 requests in 10 s, want 100 to 120", c.name, answers)
		}
		neighbour := w.caller("alice", "[2a11:22:34::1]:1000")
		neighbour.mustAllocate()
	}
}

// Each limit on answers counts what it refuses under its own reason.
func TestRefusedAnswersAreCountedByReason(t *testing.T) {
	w := newWorld(t)
	guesser := w.caller("alice", "11.22.33.101:1000")
	guesser.exchangeChallenge()
	guesser.password = "guess"
	for why, msg := range map[Reason]*stun.Message{
		RateLimited:    stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)),
		BindingLimited: stun.MustBuild(stun.TransactionID, stun.BindingRequest),
		LoginLimited:   guesser.message(stun.MethodAllocate, attrs{udpTransport}),
	} {
		answers := 0
		for range 1000 {
			w.table.HandleClient(w.now, guesser.client, msg.Raw, 0, &w.batch)
			answers += len(w.batch.Sends)
		}
		if n := w.batch.Counts.Drops[why]; n == 0 || int(n)+answers < 1000 {
			t.Errorf("%v: %d counted, %d answered", why, n, answers)
		}
		w.batch.Reset()
	}
}

// Sixty guesses take a guesser most of a minute, and whoever knows the password gets
// in meanwhile, from the same address, at once.
func TestGuessingIsSlowAndShutsNobodyOut(t *testing.T) {
	for _, connected := range []bool{false, true} {
		w := newWorld(t)
		next := 0
		from := func(user string) *caller {
			next++
			if addr := fmt.Sprintf("11.22.33.101:%d", next); connected {
				return w.connected(user, addr, TCP)
			}
			return w.caller(user, fmt.Sprintf("11.22.33.101:%d", next))
		}
		guesser := from("alice")
		guesser.exchangeChallenge()
		start, told := w.now.Mono, 0
		for told < 60 {
			w.pass(10 * time.Millisecond)
			guesser.password = fmt.Sprint("guess ", told)
			w.take()
			guesser.send(guesser.message(stun.MethodAllocate, attrs{udpTransport}).Raw)
			told += len(w.take())
			if guesser.client.Expelled() { // the shell closes it; it comes back
				guesser = from("alice")
				guesser.exchangeChallenge()
			}
			if w.now.Mono-start == 5*time.Second {
				good := from("bob")
				good.mustAllocate()
				if good.client.Expelled() {
					t.Error("a good user is expelled")
				}
			}
		}
		// bob's success vouches for the address, so guesses are answered faster from then on.
		if took := w.now.Mono - start; took < 5*time.Second {
			t.Errorf("connected %v: 60 guesses took %v", connected, took)
		}
		if connected && next < 10 {
			t.Errorf("only %d connections for 60 guesses: none was closed", next)
		}
	}
}

// A connection that has authenticated is not closed for a wrong password.
func TestUsersAreNotExpelled(t *testing.T) {
	w := newWorld(t)
	c := w.connected("alice", "11.22.33.101:1000", TLS)
	c.mustAllocate()
	c.password = "mistyped"
	for range 1000 {
		c.send(c.message(stun.MethodRefresh, nil).Raw)
	}
	if c.client.Expelled() || w.table.Len() != 1 {
		t.Error("a user was expelled")
	}
}

// Making and releasing allocations without pause uses few ports up, though each rests
// for two minutes; other addresses get theirs.
func TestChurnIsBounded(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.MinPort, o.Policy.MaxPort = 50000, 59999 })
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.refresh(lifetime(0)).want(0)
	made := 1
	for ; made < 1000; made++ {
		if c.allocate().code != 0 {
			break
		}
		c.refresh(lifetime(0)).want(0)
	}
	if made != 128 {
		t.Errorf("%d allocations at once, want twice 64", made)
	}
	c.allocate().want(486).wantSigned(c)
	w.caller("alice", "11.22.33.102:1000").mustAllocate()
	w.pass(time.Second)
	for range 6 {
		c.mustAllocate()
		c.refresh(lifetime(0)).want(0)
	}
	c.allocate().want(486)
}

// Allocate, Refresh(0), Allocate on one 5-tuple, again and again: what ends the old
// allocation never ends the new one.
func TestReallocationKeepsTheNewAllocation(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Policy.PortRest, o.Policy.Limits.AllocationsPerIP = -1, -1
	})
	for _, c := range []*caller{w.caller("alice", "11.22.33.101:1000"), w.connected("alice", "11.22.33.102:1000", TCP)} {
		var old *Socket
		for i := range 10_000 {
			c.mustAllocate()
			if old != nil { // late for the allocation before
				w.table.HandlePeer(w.now, old, peerA, []byte("late"), 0, &w.batch)
				w.table.HandleICMP(w.now, old, peerA, ICMP{Type: 3, Code: 3}, &w.batch)
			}
			w.pass(time.Millisecond)
			if w.table.Len() != 1 {
				t.Fatalf("round %d: the allocation has vanished", i)
			}
			old = w.socket(c.relay)
			c.refresh(lifetime(0)).want(0)
			w.opened, w.closed, w.events = nil, nil, nil
		}
	}
}

// Many goroutines at once get no more allocations than the quota has.
func TestConcurrentAllocatesKeepTheQuota(t *testing.T) {
	w := newWorld(t)
	var requests []*stun.Message
	var clients []*Client
	for i := range 64 {
		c := w.caller("alice", fmt.Sprintf("11.22.33.%d:1000", 100+i))
		c.exchangeChallenge()
		clients = append(clients, c.client)
		requests = append(requests, c.message(stun.MethodAllocate, attrs{udpTransport}))
	}
	var granted, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			var b Batch
			w.table.HandleClient(w.now, clients[i], requests[i].Raw, 0, &b)
			for j := 0; j < len(b.Opens); j++ {
				w.table.Opened(w.now, b.Opens[j], nil, &b)
			}
			granted.Add(int32(b.Counts.Answers[mAllocate][codeIndex(0)]))
			refused.Add(int32(b.Counts.Answers[mAllocate][codeIndex(486)]))
		})
	}
	wg.Wait()
	if granted.Load() != 16 || refused.Load() != 48 || w.table.Len() != 16 {
		t.Errorf("%d granted, %d refused, %d there; want 16, 48, 16", granted.Load(), refused.Load(), w.table.Len())
	}
	w.table.KillUser(w.now, "alice", "test", &w.batch)
	w.flush()
	w.caller("alice", "11.22.33.1:1000").mustAllocate()
}

// A sniffed request, sent again from elsewhere, does nothing.
func TestReplayFromElsewhere(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.exchangeChallenge()
	sniffed := c.message(stun.MethodAllocate, attrs{udpTransport})
	c.exchange(sniffed).want(0)
	for i := range 5 {
		thief := w.caller("alice", fmt.Sprintf("11.22.33.%d:1000", 102+i))
		thief.exchange(sniffed).want(438)
	}
	if w.table.Len() != 1 {
		t.Errorf("%d allocations, want alice's one", w.table.Len())
	}
}

// An expired credential keeps an allocation for a day and no longer; a valid one as
// long as it is valid.
func TestExpiredCredentialKeepsItsAllocationForADay(t *testing.T) {
	for _, expired := range []bool{false, true} {
		w := newWorld(t)
		c := w.caller("alice", "11.22.33.101:1000")
		c.mustAllocate(lifetime(3600))
		if expired {
			w.keys[c.username] = Login{Verdict: Expired, Passwords: []string{c.password}, User: "alice"}
		}
		for range 47 {
			w.pass(30 * time.Minute)
			c.refresh(lifetime(3600)).want(0)
		}
		w.pass(30 * time.Minute)
		want := 0
		if expired {
			want = 401
		}
		c.refresh(lifetime(3600)).want(want)
	}
}

// No answer and no relayed datagram holds a byte that nobody sent: not of other
// clients' messages in the same memory, not behind the end of a message.
func TestNoStaleBytes(t *testing.T) {
	pattern := []byte("SECRET!!")
	w := newWorld(t)
	c, d := w.caller("alice", "11.22.33.101:1000"), w.connected("bob", "11.22.33.102:1000", TCP)
	for _, c := range []*caller{c, d} {
		c.mustAllocate()
		c.bind(0x4000, peerA).want(0)
	}
	r := rand.New(rand.NewPCG(3, 3))
	messages := [][]byte{
		{0x40, 0, 0, 3, 1, 2, 3, 0},
		{0x40, 0, 0, 9, 1, 2, 3},
		{0x40, 0, 0xff, 0xff},
		c.message(stun.MethodAllocate, attrs{udpTransport}).Raw,
		c.message(stun.MethodRefresh, attrs{lifetime(600)}).Raw,
		c.message(stun.MethodCreatePermission, attrs{xor(stun.AttrXORPeerAddress, peerB)}).Raw,
		stun.MustBuild(stun.TransactionID, stun.BindingRequest, raw(0x0042, 1)).Raw,
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
			xor(stun.AttrXORPeerAddress, peerA), raw(stun.AttrData, 1, 2, 3, 4, 5)).Raw,
	}
	poison := bytes.Repeat(pattern, arenaChunk/len(pattern))
	got := 0
	for range 20_000 {
		msg := messages[r.IntN(len(messages))]
		buf := append(bytes.Clone(msg), poison[:512]...) // what the read before has left
		msg = buf[:len(msg)]
		if r.IntN(2) == 0 { // a length that lies, a bit that fell over
			msg[r.IntN(len(msg))] ^= 1 << r.IntN(8)
		}
		w.batch.Reset()
		w.batch.arena, w.batch.build = append(w.batch.arena[:0], poison...)[:0], append(w.batch.build[:0], poison[:1024]...)[:0]
		from := []*caller{c, d}[r.IntN(2)]
		w.table.HandleClient(w.now, from.client, msg, 0, &w.batch)
		w.table.HandlePeer(w.now, w.socket(from.relay), peerA, buf[:r.IntN(len(msg))], 0, &w.batch)
		for _, s := range w.batch.Sends {
			got++
			if all := append(bytes.Clone(s.Head), s.Body...); bytes.Contains(all, pattern[:4]) {
				t.Fatalf("%x\nis answered with stale memory: %x", msg, all)
			}
		}
	}
	if got < 10_000 {
		t.Errorf("only %d messages were written", got)
	}
}

// Nothing that is refused or special can be reached, whichever way it is written and
// by whichever message: 403 or 443, and not one datagram.
func TestNoRefusedPeerIsReached(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.OwnAddrs = []netip.Addr{netip.MustParseAddr("11.22.33.77")} })
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate(raw(attrAdditionalAddressFamily, 2, 0, 0, 0))
	list := []netip.Addr{netip.MustParseAddr("11.22.33.77")}
	for _, p := range RecommendedDeny() {
		list = append(list, p.Addr(), p.Addr().Next())
	}
	for _, s := range []string{"127.0.0.1", "169.254.169.254", "255.255.255.255", "11.22.33.77", "192.168.1.1", "10.0.0.1"} {
		for _, e := range encodings {
			list = append(list, e.of(netip.MustParseAddr(s)))
		}
	}
	for _, peer := range list {
		address := xor6(peer)
		if peer.Is4() {
			address = xor(stun.AttrXORPeerAddress, netip.AddrPortFrom(peer, 1))
		}
		for _, got := range []*answer{
			c.request(stun.MethodCreatePermission, address),
			c.request(stun.MethodChannelBind, channelNumber(0x4000), address),
		} {
			if got.code != 403 && got.code != 443 {
				t.Errorf("%v: %v answered %d", peer, got.Type.Method, got.code)
			}
		}
		m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), address, raw(stun.AttrData, 1))
		w.take()
		c.send(m.Raw)
		c.channelData(0x4000, "x")
		w.wantSilence(fmt.Sprint("data to ", peer))
	}
}
