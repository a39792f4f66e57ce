package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/pion/stun/v3"
)

// Published advisories against TURN servers that have a form on the wire, and what this one answers to it; the allocation
// that was there before is there afterwards. (Lengths that overflow in the framing of TCP are in TestScanFrame, stale bytes
// in TestNoStaleBytes, what follows MESSAGE-INTEGRITY in TestAttributesAfterIntegrityAreIgnored.)
func TestAdvisories(t *testing.T) {
	refused := []int{403, 443}
	silence := []int(nil)
	v6 := func(text string) func(*caller) *answer {
		return func(c *caller) *answer {
			return c.request(stun.MethodCreatePermission, xor6(netip.MustParseAddr(text)))
		}
	}
	onV6 := func(text string) func(*caller) *answer {
		return func(c *caller) *answer {
			c.client = NewConnection(netip.MustParseAddrPort("11.22.33.109:1000"), serverV4, TLS, "connection")
			c.nonce = ""
			c.mustAllocate(raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0))
			return v6(text)(c)
		}
	}
	for _, a := range []struct {
		id   string
		want []int
		run  func(c *caller) *answer
	}{
		{"pion/stun fa9f074: an indication whose XOR-PEER-ADDRESS is empty", silence, func(c *caller) *answer {
			for _, v := range [][]byte{{}, {0}, {0, 1, 0, 80}, {0, 2, 0, 80, 1, 2, 3, 4}} {
				c.indicate(raw(stun.AttrXORPeerAddress, v...), raw(stun.AttrData, 'x'))
			}
			return nil
		}},
		{"CVE-2026-40613: attributes at odd offsets", silence, func(c *caller) *answer {
			for pad := 1; pad < 4; pad++ {
				m := c.message(stun.MethodBinding, nil)
				b := append(bytes.Clone(m.Raw[:20]), 0x80, 0x22, 0, byte(pad))
				b = append(b, make([]byte, pad)...)
				binary.BigEndian.PutUint16(b[2:], uint16(4+pad))
				c.send(b)
			}
			return nil
		}},
		{"CVE-2020-26262: 0.0.0.0 is this machine", refused, func(c *caller) *answer {
			return c.permit(netip.MustParseAddrPort("0.0.0.0:80"))
		}},
		{"CVE-2020-26262: ::1", refused, v6("::1")},
		{"CVE-2020-26262: ::", refused, onV6("::")},
		{"CVE-2026-27624: ::ffff:127.0.0.1", refused, v6("::ffff:127.0.0.1")},
		{"CVE-2026-27624, the fix: ::ffff:127.0.0.2", refused, onV6("::ffff:127.0.0.2")},
		{"coturn #1945: ::127.0.0.1", refused, onV6("::127.0.0.1")},
		{"coturn #1945: 6to4", refused, onV6("2002:7f00:1::1")},
		{"coturn #1945: NAT64", refused, onV6("64:ff9b::a9fe:a9fe")},
		{"coturn #1947: unique local", refused, onV6("fd00::1")},
		{"CVE-2018-4058, restund CVE-2021-21382: loopback", refused, func(c *caller) *answer {
			return c.permit(netip.MustParseAddrPort("127.0.0.1:80"))
		}},
		{"CVE-2026-43994: an ACCESS-TOKEN of a kilobyte", []int{420}, func(c *caller) *answer {
			return c.allocate(raw(0x001B, make([]byte, 1024)...))
		}},
		{"GHSA-4g7c-p5wg-j4hp: a user name that is a format", []int{401}, func(c *caller) *answer {
			c.username = "1800003600:%n%s%s%n"
			return c.refresh()
		}},
		{"GHSA-v8hj-2xx7-xmp5: SQL in a user name", []int{401}, func(c *caller) *answer {
			c.username = "1800003600:a'; drop table users; --"
			return c.refresh()
		}},
		{"coturn #1932: port 0 of a peer", []int{400, 403}, func(c *caller) *answer {
			return c.bind(0x4000, netip.MustParseAddrPort("11.22.44.1:0"))
		}},
		{"coturn #1969: a mobility ticket moves nothing", []int{437}, func(c *caller) *answer {
			other := c.w.caller("alice", "11.22.33.105:1000")
			return other.refresh(raw(0x8030, make([]byte, 64)...))
		}},
		{"Cisco memoryleak: ChannelData longer than its datagram", silence, func(c *caller) *answer {
			c.bind(0x4000, peerA).want(0)
			c.w.take()
			c.send([]byte{0x40, 0, 0xff, 0xfc, 'x', 'x', 'x', 'x'})
			return nil
		}},
		{"RFC 3489: no cookie", silence, func(c *caller) *answer {
			c.send([]byte{0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
			return nil
		}},
	} {
		w := newWorld(t)
		c := w.caller("alice", "11.22.33.101:1000")
		c.mustAllocate()
		before := *c
		w.take()
		got := a.run(c)
		switch {
		case a.want == nil:
			w.wantSilence(a.id)
		case got == nil || !slices.Contains(a.want, got.code):
			t.Errorf("%s: got %+v, want one of %v", a.id, got, a.want)
		}
		before.refresh().want(0)
	}
}

// indicate sends a Send indication of any attributes.
func (c *caller) indicate(a ...stun.Setter) {
	m := new(stun.Message)
	if err := m.Build(append(attrs{stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication)}, a...)...); err != nil {
		c.w.t.Fatal(err)
	}
	c.send(m.Raw)
}

// Ports that EVEN-PORT passes over are not lost (coturn 4adbd82e): a small range is enough for any number of pairs, one
// after the other.
func TestEvenPortsAreGivenBack(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Policy.MinPort, o.Policy.MaxPort, o.Policy.PortRest, o.Policy.Limits.AllocationsPerIP = 50000, 50007, -1, -1
	})
	c := w.caller("alice", "11.22.33.101:1000")
	for range 100 {
		if got := c.mustAllocate(raw(stun.AttrEvenPort, 0)); c.relay.Port()%2 != 0 {
			t.Fatalf("%v: port %d is odd", got, c.relay.Port())
		}
		c.refresh(lifetime(0)).want(0)
	}
	for i := range 8 {
		w.caller("bob", netip.AddrPortFrom(netip.MustParseAddr("11.22.33.102"), uint16(1000+i)).String()).mustAllocate()
	}
}
