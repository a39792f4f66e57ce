package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

func TestDataBothWays(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	w.take()

	c.sendIndication(peerA, "too early")
	c.fromPeer(peerA, "too early")
	w.wantSilence("no permission, no packet")

	c.permit(peerA).want(0)
	w.take()
	c.sendIndication(peerA, "hello")
	c.wantToPeer(peerA, "hello")
	c.fromPeer(peerA2, "any port of it") // a permission is for an IP, any port
	c.wantData(peerA2, "any port of it")
	c.fromPeer(peerB, "no")
	w.wantSilence("another peer")

	c.bind(0x7FFF, peerB).want(0) // a number of RFC 5766
	w.take()
	c.channelData(0x7FFF, "older client")
	c.wantToPeer(peerB, "older client")
	c.refresh(lifetime(0)).want(0)
	c.mustAllocate()
	c.permit(peerA).want(0)

	c.bind(0x4001, peerA).want(0)
	w.take()
	c.channelData(0x4001, "by channel")
	c.wantToPeer(peerA, "by channel")
	c.fromPeer(peerA, "x") // 1 byte, and no padding on UDP
	c.wantChannel(0x4001, "x")
	c.fromPeer(peerA2, "other port") // the channel is for one port
	c.wantData(peerA2, "other port")
	c.channelData(0x4002, "unbound")
	w.wantSilence("an unbound channel")

	i := w.table.Allocations()[0]
	if i.SentBytes != 10 || i.SentPackets != 1 || i.ReceivedBytes != 11 || i.ReceivedPackets != 2 {
		t.Errorf("counted %+v", i)
	}
}

func TestSendDontFragment(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate(raw(stun.AttrDontFragment))
	c.permit(peerA).want(0)
	w.take()
	c.sendIndication(peerA, "df", raw(stun.AttrDontFragment))
	if s := w.take(); len(s) != 1 || !s[0].DontFragment {
		t.Errorf("DONT-FRAGMENT is lost: %+v", s)
	}
	c.sendIndication(peerA, "no", raw(0x7777, 1))
	w.wantSilence("an indication with an unknown required attribute")
}

func TestPermissionAndChannelLifetimes(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate(lifetime(3600))
	c.bind(0x4000, peerA).want(0)
	w.pass(5*time.Minute - time.Millisecond)
	w.take()
	c.channelData(0x4000, "in time")
	c.wantToPeer(peerA, "in time")
	w.pass(time.Millisecond)
	c.channelData(0x4000, "late")
	c.fromPeer(peerA, "late")
	w.wantSilence("the permission has expired, the channel alone does not do")

	c.permit(peerA).want(0)
	w.take()
	c.channelData(0x4000, "again")
	c.wantToPeer(peerA, "again")
	w.pass(5 * time.Minute) // ten minutes: the channel has expired
	c.permit(peerA).want(0)
	w.take()
	c.channelData(0x4000, "late")
	w.wantSilence("the channel has expired")
	c.fromPeer(peerA, "data")
	c.wantData(peerA, "data")
	c.bind(0x4000, peerB).want(0) // the number is free again
	c.bind(0x4001, peerA).want(0)
	if i := w.table.Allocations()[0]; i.Permissions != 2 || i.Channels != 2 {
		t.Errorf("%d permissions, %d channels", i.Permissions, i.Channels)
	}
}

func TestMalformedData(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	w.take()
	for _, msg := range []string{"\x40", "\x40\x00\x00", "\x40\x00\x00\x05abcd", "\x50\x00\x00\x00", "\x80\x00\x00\x00", "\xff\xff\xff\xff\xff"} {
		c.send([]byte(msg))
		w.wantSilence("a message that does not fit")
	}
	c.send([]byte("\x40\x00\x00\x03abc\x00")) // padded, which UDP allows
	c.wantToPeer(peerA, "abc")
	c.send([]byte("\x40\x00\x00\x00"))
	c.wantToPeer(peerA, "")
}

func TestStreamsGetPadding(t *testing.T) {
	w := newWorld(t)
	c := w.connected("alice", "11.22.33.101:1000", TCP)
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	for n, pad := range []uint8{0, 3, 2, 1, 0} {
		w.take()
		c.fromPeer(peerA, strings.Repeat("x", n))
		if s := w.take(); len(s) != 1 || s[0].Pad != pad || len(s[0].Body) != n {
			t.Errorf("%d bytes: %+v, want padding %d", n, s, pad)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		tr        Transport
		size      int
		delivered bool
	}{{UDP, 65503, true}, {UDP, 65504, false}, {TCP, 65507, true}} {
		w := newWorld(t, func(o *Options) { o.Policy.Limits.Bandwidth = -1 })
		a := w.caller("alice", "11.22.33.101:1000")
		if c.tr != UDP {
			a = w.connected("alice", "11.22.33.101:1000", c.tr)
		}
		a.mustAllocate()
		a.bind(0x4000, peerA).want(0)
		w.take()
		data := strings.Repeat("x", c.size)
		a.fromPeer(peerA, data)
		if !c.delivered {
			w.wantSilence("a datagram that does not fit is not truncated")
			w.table.HandlePeer(w.now, w.socket(a.relay), peerA, []byte(data), 0, &w.batch)
			if n := w.batch.Counts.Drops[TooLarge]; n != 1 {
				t.Errorf("%d datagrams counted as too large, want 1", n)
			}
			continue
		}
		a.wantChannel(0x4000, data)
		a.channelData(0x4000, data)
		a.wantToPeer(peerA, data)
	}
}

func TestSegments(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	w.take()
	// From the peer: two full segments and a shorter one.
	w.table.HandlePeer(w.now, w.socket(c.relay), peerA, []byte("aaaabbbbcc"), 4, &w.batch)
	w.flush()
	var got []string
	for _, s := range w.take() {
		got = append(got, string(s.Body))
		if int(binary.BigEndian.Uint16(s.Head[2:])) != len(s.Body) {
			t.Errorf("length %x of %q", s.Head, s.Body)
		}
	}
	if strings.Join(got, " ") != "aaaa bbbb cc" {
		t.Errorf("segments %q", got)
	}
	// From the client likewise.
	c.client.Via = "listener"
	w.table.HandleClient(w.now, c.client, []byte("\x40\x00\x00\x02ab\x40\x00\x00\x02cd\x40\x00\x00\x01e"), 6, &w.batch)
	w.flush()
	got = nil
	for _, s := range w.take() {
		got = append(got, string(s.Body))
	}
	if strings.Join(got, " ") != "ab cd e" {
		t.Errorf("segments %q", got)
	}
}

// Of datagrams that came joined and go no further each one counts.
func TestDroppedSegmentsCountEach(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	for bytes, want := range map[string]uint64{"aaaabbbbcc": 3, "aaaabbbb": 2, "aaaa": 1, "": 1} {
		w.flush()
		w.table.HandlePeer(w.now, w.socket(c.relay), peerA, []byte(bytes), 4, &w.batch)
		if n := w.batch.Counts.Drops[NoPermission]; n != want {
			t.Errorf("%d drops for %q in segments of 4, want %d", n, bytes, want)
		}
	}
}

// Two clients of this relay reach each other in process, also through the external
// address of a NATed server.
func TestRelayToRelay(t *testing.T) {
	inner, outer := netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("11.22.33.10")
	w := newWorld(t, func(o *Options) { o.Policy.Relays = []RelayIP{{inner, outer}} })
	a, b := w.caller("alice", "11.22.33.101:1000"), w.caller("bob", "11.22.33.102:1000")
	a.mustAllocate()
	b.mustAllocate()
	if a.relay.Addr() != outer || w.socket(a.relay).Local.Addr() != inner {
		t.Fatalf("relayed address %v at %v", a.relay, w.socket(a.relay).Local)
	}
	a.bind(0x4000, b.relay).want(0)
	w.take()
	a.channelData(0x4000, "hello")
	w.wantSilence("bob has not permitted alice")
	b.permit(a.relay).want(0)
	w.take()
	a.channelData(0x4000, "hello")
	b.wantData(a.relay, "hello")
	b.bind(0x4abc, a.relay).want(0)
	w.take()
	a.channelData(0x4000, "hello")
	b.wantChannel(0x4abc, "hello")
	b.channelData(0x4abc, "hi")
	a.wantChannel(0x4000, "hi")

	b.refresh(lifetime(0)).want(0)
	w.take()
	a.channelData(0x4000, "hello")
	w.wantSilence("bob's relayed address is gone, and our own address is no peer")
}

func TestOwnAddressIsNoPeer(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Policy.OwnAddrs = []netip.Addr{netip.MustParseAddr("11.22.33.11")}
	})
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.permit(netip.MustParseAddrPort("11.22.33.11:22")).want(403)
	c.permit(serverV4).want(0) // the address of our relays: the port decides
	w.take()
	for _, port := range []uint16{22, 3478, 50099} {
		c.sendIndication(netip.AddrPortFrom(relayV4, port), "x")
		c.fromPeer(netip.AddrPortFrom(relayV4, port), "x")
		w.wantSilence("a port of our own that is no relayed address")
	}
}

func TestAllowAdmitsAMediaServerOnThisHost(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.Allow = prefixes("11.22.33.10/32", "127.0.0.0/8") })
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	sfu := netip.AddrPortFrom(relayV4, 7882)
	c.bind(0x4000, sfu).want(0)
	w.take()
	c.channelData(0x4000, "hello")
	c.wantToPeer(sfu, "hello")
	c.sendIndication(sfu, "hello")
	c.wantToPeer(sfu, "hello")
	c.bind(0x4001, serverV4).want(0) // not refused as an address, but
	w.take()
	c.channelData(0x4001, "x")
	c.sendIndication(serverV4, "x")
	w.wantSilence("our own listener is never a peer")
	c.bind(0x4002, netip.MustParseAddrPort("127.0.0.1:9")).want(0)
}

func TestSetPolicyEndsDeniedFlows(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	c.permit(peerB).want(0)
	p := w.table.Policy()
	p.Deny = append(p.Deny, netip.PrefixFrom(peerA.Addr(), 32), netip.PrefixFrom(peerB.Addr(), 32))
	w.table.SetPolicy(p)
	w.take()
	c.channelData(0x4000, "x")
	c.sendIndication(peerB, "x")
	c.fromPeer(peerA, "x")
	c.fromPeer(peerB, "x")
	w.wantSilence("denied since")
	p.Deny = nil
	w.table.SetPolicy(p)
	c.channelData(0x4000, "back")
	c.wantToPeer(peerA, "back")
}

func TestRelayOnlyCredentials(t *testing.T) {
	w := newWorld(t)
	w.keys["1800003600:check.1"] = Login{Verdict: Valid, Passwords: []string{"pw-check.1"}, User: "check.1", RelayOnly: true, MaxBytes: 10}
	c, b := w.caller("check.1", "11.22.33.101:1000"), w.caller("bob", "11.22.33.102:1000")
	c.mustAllocate()
	b.mustAllocate()
	c.permit(peerA).want(403)
	c.bind(0x4000, peerA).want(403)
	c.bind(0x4000, b.relay).want(0)
	b.bind(0x4000, c.relay).want(0)
	w.take()
	c.channelData(0x4000, "12345")
	b.wantChannel(0x4000, "12345")
	b.channelData(0x4000, "12345")
	c.wantChannel(0x4000, "12345")
	c.channelData(0x4000, "6")
	b.channelData(0x4000, "6")
	w.wantSilence("the ten bytes are used up")
}

func TestBandwidth(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.Limits.Bandwidth = 8000 * 100 }) // 100 bytes/ms
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	kilo := strings.Repeat("x", 1000)
	through := func(n int) int {
		w.take()
		for range n {
			c.channelData(0x4000, kilo)
		}
		return len(w.take())
	}
	if n := through(100); n != 51 { // half a second ahead, and the one that fills it
		t.Errorf("%d of 100 packets at once, want 51", n)
	}
	for range 10 {
		w.pass(100 * time.Millisecond)
		if n := through(100); n != 10 {
			t.Errorf("%d packets in 100 ms, want 10", n)
		}
	}
	c.fromPeer(peerA, "the other direction has its own")
	if len(w.take()) != 1 {
		t.Error("the directions share a bucket")
	}
}

func TestICMP(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate(raw(stun.AttrDontFragment))
	tell := func(e ICMP) []Send {
		w.take()
		w.table.HandleICMP(w.now, w.socket(c.relay), peerA, e, &w.batch)
		w.flush()
		return w.take()
	}
	if s := tell(ICMP{Type: 3, Code: 3}); len(s) != 0 {
		t.Error("ICMP without a permission is told")
	}
	c.permit(peerA).want(0)
	s := tell(ICMP{Type: 3, Code: 4, Data: 1400})
	if len(s) != 1 {
		t.Fatalf("%d messages", len(s))
	}
	m := stun.Message{Raw: s[0].Head}
	if err := m.Decode(); err != nil {
		t.Fatal(err)
	}
	v, err := m.Get(attrICMP)
	if err != nil || !bytes.Equal(v, []byte{0, 0, 6, 4, 0, 0, 0x05, 0x78}) {
		t.Errorf("ICMP %x %v", v, err)
	}
	if address(t, &m, stun.AttrXORPeerAddress) != peerA || m.Contains(stun.AttrData) {
		t.Errorf("indication %v", m)
	}
	if s := tell(ICMP{Type: 0}); len(s) != 0 {
		t.Error("an echo reply is told")
	}
	c = w.caller("alice", "11.22.33.101:1001")
	c.mustAllocate()
	c.permit(peerA).want(0)
	if s := tell(ICMP{Type: 3, Code: 4, Data: 1400}); len(s) != 0 {
		t.Error("a client that asked for no DONT-FRAGMENT is told")
	}
}

// What the shell cannot deliver counts as dropped and not as relayed.
func TestLostIsNotRelayed(t *testing.T) {
	w := newWorld(t)
	c := w.connected("alice", "11.22.33.101:1000", TCP)
	c.mustAllocate()
	c.permit(peerA).want(0)
	w.take()
	w.table.HandlePeer(w.now, w.socket(c.relay), peerA, make([]byte, 100), 0, &w.batch)
	n := &w.batch.Counts
	if len(w.batch.Sends) != 1 || n.Bytes[TCP][Received] != 100 || n.Packets[TCP][Received] != 1 {
		t.Fatalf("relayed: %+v", n)
	}
	n.Lost(TCP, &w.batch.Sends[0], QueueFull)
	if n.Bytes[TCP][Received] != 0 || n.Packets[TCP][Received] != 0 || n.Drops[QueueFull] != 1 {
		t.Errorf("lost: %+v", n)
	}
}

func TestCounts(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	var totals Totals
	w.table.HandleClient(w.now, c.client, []byte("\x40\x00\x00\x02ab"), 0, &w.batch)
	w.table.HandleClient(w.now, c.client, []byte("\x41\x00\x00\x02ab"), 0, &w.batch)
	w.table.HandleClient(w.now, c.client, c.message(stun.MethodRefresh, nil).Raw, 0, &w.batch)
	totals.Add(&w.batch.Counts)
	got := map[string]uint64{}
	totals.Each(func(m Metric) {
		key := m.Name
		for _, l := range m.Labels {
			key += " " + l.Value
		}
		got[key] = m.Value
	})
	for key, want := range map[string]uint64{
		"relayed_bytes udp sent": 2, "relayed_packets udp sent": 1, "relayed_bytes udp received": 0, "dropped_packets no_channel": 1, "requests refresh ok": 1,
	} {
		if got[key] != want {
			t.Errorf("%s = %d, want %d", key, got[key], want)
		}
	}
}
