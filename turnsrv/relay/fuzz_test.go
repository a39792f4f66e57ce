package relay

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

// FuzzParse: whatever parses has attributes inside the message, and an integrity
// attribute is where it is said to be.
func FuzzParse(f *testing.F) {
	for _, m := range seedMessages(f) {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var b Batch
		m, _, ok := parse(raw, &b)
		if !ok {
			return
		}
		for _, at := range []int{m.mi, m.mi256} {
			if at != 0 && (at < headerLen || at+attrHeaderLen > len(raw)) {
				t.Fatalf("integrity at %d of %d", at, len(raw))
			}
		}
		m.signedBy([]byte("key"))
		m.unknown()
		m.wish()
		m.lifetime()
		m.chosenAlgorithm(true)
		m.signedBy(nil)
		for _, a := range m.attrs {
			if p, ok := xorAddress(a.Value, m.id); ok {
				again := appendXORAddress(nil, a.Type, p, m.id)
				if back, ok := xorAddress(again[4:], m.id); !ok || back.Addr().Unmap() != p.Addr().Unmap() || back.Port() != p.Port() {
					t.Fatalf("address %v became %v", p, back)
				}
			}
		}
	})
}

// FuzzClient: nothing that a client or a peer sends panics, and no state is made
// without a valid MAC.
func FuzzClient(f *testing.F) {
	for _, m := range seedMessages(f) {
		f.Add(m, uint8(0))
		f.Add(m, uint8(7))
	}
	f.Add([]byte("\x40\x00\x00\x04abcd"), uint8(0))
	f.Add([]byte("\x40\x00\xff\xfc"), uint8(0))
	w := newWorld(f)
	c := w.connected("alice", "11.22.33.101:1000", TCP)
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	s := w.socket(c.relay)
	f.Fuzz(func(t *testing.T, msg []byte, seg uint8) {
		w.t = t
		before := w.table.Len()
		stranger := &Client{Addr: netip.MustParseAddrPort("11.22.33.200:1"), Local: serverV4}
		w.table.HandleClient(w.now, stranger, msg, int(seg), &w.batch)
		w.flush()
		if w.table.Len() != before {
			t.Fatal("a stranger's message made or ended an allocation")
		}
		w.table.HandleClient(w.now, c.client, msg, int(seg), &w.batch)
		w.table.HandlePeer(w.now, s, peerA, msg, int(seg), &w.batch)
		w.flush()
		w.take()
	})
}

// FuzzPolicy: a refused IPv4 address is refused in every form, with every list; a
// mapped one always; and NAT64 and 6to4 forms are admitted where only the list of
// IPv4 addresses speaks.
func FuzzPolicy(f *testing.F) {
	f.Add(uint32(0x7f000001), uint16(80), uint32(0x7f000000), uint8(8), false)
	f.Add(uint32(0x0b162c01), uint16(5000), uint32(0x0b162c00), uint8(24), false)
	f.Add(uint32(0x0a000001), uint16(80), uint32(0), uint8(0), true)
	f.Add(uint32(0xa9fea9fe), uint16(80), uint32(0), uint8(0), true)
	f.Add(uint32(0x0b16210a), uint16(3478), uint32(0), uint8(32), false)
	f.Fuzz(func(t *testing.T, host uint32, port uint16, net uint32, bits uint8, standard bool) {
		v4 := func(n uint32) netip.Addr { return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n))) }
		plain := Policy{Own: []netip.AddrPort{serverV4}, Deny: []netip.Prefix{netip.PrefixFrom(v4(net), int(bits%33)).Masked()}}
		if standard {
			plain.Deny = nil
		}
		p, a := compile(plain, nil), v4(host)
		admitted := p.admits(netip.AddrPortFrom(a, port))
		for _, e := range encodings {
			got := p.admits(netip.AddrPortFrom(e.of(a), port))
			if got && (!admitted || e.name == "mapped") {
				t.Fatalf("%v: admitted %v, as %s %v", a, admitted, e.name, got)
			}
			if !got && admitted && !standard && (e.name == "NAT64" || e.name == "6to4") {
				t.Fatalf("%v is admitted, but not as %s", a, e.name)
			}
		}
		if !standard && admitted == plain.Deny[0].Contains(a) && !a.IsLoopback() && !a.IsUnspecified() && a != serverV4.Addr() {
			t.Fatalf("%v: admitted %v by %v", a, admitted, plain.Deny)
		}
	})
}

func seedMessages(f *testing.F) [][]byte {
	w := newWorld(f)
	c := w.caller("alice", "11.22.33.101:1000")
	c.exchangeChallenge()
	var out [][]byte
	for _, m := range []*stun.Message{
		c.message(stun.MethodAllocate, attrs{udpTransport, raw(stun.AttrEvenPort, 0x80), raw(attrAdditionalAddressFamily, 2, 0, 0, 0)}),
		c.message(stun.MethodRefresh, attrs{lifetime(600)}),
		c.message(stun.MethodCreatePermission, attrs{xor(stun.AttrXORPeerAddress, peerA), xor(stun.AttrXORPeerAddress, peerV6)}),
		c.message(stun.MethodChannelBind, attrs{channelNumber(0x4000), xor(stun.AttrXORPeerAddress, peerA)}),
		stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.Fingerprint),
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication),
			xor(stun.AttrXORPeerAddress, peerA), raw(stun.AttrData, 1, 2, 3)),
		stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), raw(stun.AttrXORPeerAddress), raw(stun.AttrData)),
	} {
		out = append(out, m.Raw)
	}
	return out
}
