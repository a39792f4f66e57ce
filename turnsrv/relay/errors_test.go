package relay

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

func TestErrorCodes(t *testing.T) {
	noV6 := func(o *Options) { o.Policy.Relays = o.Policy.Relays[:1] }
	for _, c := range []struct {
		name   string
		code   int
		signed bool
		run    func(c *caller) *answer
		opts   func(*Options)
	}{
		{name: "no REQUESTED-TRANSPORT", code: 400, signed: true, run: func(c *caller) *answer {
			return c.request(stun.MethodAllocate)
		}},
		{name: "TCP relay", code: 442, signed: true, run: func(c *caller) *answer {
			return c.request(stun.MethodAllocate, raw(stun.AttrRequestedTransport, 6, 0, 0, 0))
		}},
		{name: "unknown family", code: 440, signed: true, run: func(c *caller) *answer {
			return c.allocate(raw(stun.AttrRequestedAddressFamily, 3, 0, 0, 0))
		}},
		{name: "IPv6 without an IPv6 relay", code: 440, signed: true, opts: noV6, run: func(c *caller) *answer {
			return c.allocate(raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0))
		}},
		{name: "both family attributes", code: 400, signed: true, run: func(c *caller) *answer {
			return c.allocate(raw(stun.AttrRequestedAddressFamily, 1, 0, 0, 0), raw(attrAdditionalAddressFamily, 2, 0, 0, 0))
		}},
		{name: "additional IPv4", code: 400, signed: true, run: func(c *caller) *answer {
			return c.allocate(raw(attrAdditionalAddressFamily, 1, 0, 0, 0))
		}},
		{name: "token and EVEN-PORT", code: 400, signed: true, run: func(c *caller) *answer {
			return c.allocate(raw(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8), raw(stun.AttrEvenPort, 0))
		}},
		{name: "unknown token", code: 508, signed: true, run: func(c *caller) *answer {
			return c.allocate(raw(stun.AttrReservationToken, 1, 2, 3, 4, 5, 6, 7, 8))
		}},
		{name: "unknown attribute", code: 420, signed: true, run: func(c *caller) *answer {
			return c.allocate(raw(0x0042, 1, 2, 3, 4))
		}},
		{name: "wrong password", code: 401, run: func(c *caller) *answer {
			c.password = "wrong"
			return c.allocate()
		}},
		{name: "unknown user", code: 401, run: func(c *caller) *answer {
			c.username = "1800003600:mallory"
			return c.allocate()
		}},
		{name: "expired user", code: 401, run: func(c *caller) *answer {
			c.username = "1700000000:alice"
			return c.allocate()
		}},
		{name: "wrong realm", code: 401, run: func(c *caller) *answer {
			c.exchangeChallenge()
			c.realm = "elsewhere.org"
			return c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport}))
		}},
		{name: "MESSAGE-INTEGRITY without NONCE", code: 400, run: func(c *caller) *answer {
			return c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport, stun.NewUsername("x"), stun.NewRealm(testRealm), stun.MessageIntegrity("x")}))
		}},
		{name: "Refresh without allocation", code: 437, signed: true, run: func(c *caller) *answer { return c.refresh() }},
		{name: "Refresh 0 without allocation", code: 437, signed: true, run: func(c *caller) *answer { return c.refresh(lifetime(0)) }},
		{name: "CreatePermission without allocation", code: 437, signed: true, run: func(c *caller) *answer { return c.permit(peerA) }},
		{name: "ChannelBind without allocation", code: 437, signed: true, run: func(c *caller) *answer { return c.bind(0x4000, peerA) }},
		{name: "permission without peer", code: 400, signed: true, run: func(c *caller) *answer { c.mustAllocate(); return c.permit() }},
		{name: "permission with a short address", code: 400, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			return c.request(stun.MethodCreatePermission, raw(stun.AttrXORPeerAddress))
		}},
		{name: "IPv6 peer of an IPv4 allocation", code: 443, signed: true, run: func(c *caller) *answer { c.mustAllocate(); return c.permit(peerV6) }},
		{name: "mapped peer", code: 443, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			return c.request(stun.MethodCreatePermission, xor6(netip.MustParseAddr("::ffff:11.22.44.1")))
		}},
		{name: "denied peer", code: 403, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			return c.permit(peerA, netip.MustParseAddrPort("127.0.0.1:1"))
		}},
		{name: "denied channel", code: 403, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			return c.bind(0x4000, netip.MustParseAddrPort("10.0.0.1:53"))
		}},
		{name: "channel to our own listener", code: 403, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			return c.bind(0x4000, serverV4)
		}, opts: func(o *Options) {
			o.Policy.Allow = prefixes("11.22.33.10/32")
			o.Policy.Relays = o.Policy.Relays[1:]
			o.Policy.Relays = append(o.Policy.Relays, RelayIP{netip.MustParseAddr("11.22.33.11"), netip.MustParseAddr("11.22.33.11")})
		}},
		{name: "channel number too high", code: 400, signed: true, run: func(c *caller) *answer { c.mustAllocate(); return c.bind(0x8000, peerA) }},
		{name: "channel number too low", code: 400, signed: true, run: func(c *caller) *answer { c.mustAllocate(); return c.bind(0x3FFF, peerA) }},
		{name: "channel without number", code: 400, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			return c.request(stun.MethodChannelBind, xor(stun.AttrXORPeerAddress, peerA))
		}},
		{name: "channel bound elsewhere", code: 400, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			c.bind(0x4000, peerA).want(0)
			return c.bind(0x4000, peerB)
		}},
		{name: "peer bound elsewhere", code: 400, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			c.bind(0x4000, peerA).want(0)
			return c.bind(0x4001, peerA)
		}},
		{name: "wrong family in Refresh", code: 443, signed: true, run: func(c *caller) *answer {
			c.mustAllocate()
			return c.refresh(raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0))
		}},
		{name: "quota", code: 486, signed: true, opts: func(o *Options) { o.Policy.Limits.AllocationsPerUser = 1 }, run: func(c *caller) *answer {
			c.mustAllocate()
			d := c.w.caller("alice", "11.22.33.102:1000")
			got := d.allocate()
			*c = *d
			return got
		}},
		{name: "draining", code: 508, signed: true, opts: func(o *Options) { o.Policy.Draining = true }, run: func(c *caller) *answer { return c.allocate() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var opts []func(*Options)
			if c.opts != nil {
				opts = append(opts, c.opts)
			}
			w := newWorld(t, opts...)
			caller := w.caller("alice", "11.22.33.101:1000")
			got := c.run(caller).want(c.code)
			if c.signed {
				got.wantSigned(caller)
			} else if got.Contains(stun.AttrMessageIntegrity) {
				t.Error("the answer to an unauthenticated request is signed")
			}
			if c.code == 401 || c.code == 438 {
				caller.learn(got)
			}
		})
	}
}

// exchangeChallenge learns realm and nonce from a 401.
func (c *caller) exchangeChallenge() {
	c.w.t.Helper()
	c.learn(c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport})).want(401))
}

func TestUnknownAttributesAreListed(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	got := c.allocate(raw(0x0042, 1), raw(0x8042, 1), raw(0x7001, 1)).want(420)
	v, err := got.Get(stun.AttrUnknownAttributes)
	if err != nil || !bytes.Equal(v, []byte{0x00, 0x42, 0x70, 0x01}) {
		t.Errorf("UNKNOWN-ATTRIBUTES %x %v, want 0042 7001", v, err)
	}
}

func TestTryAlternate(t *testing.T) {
	other := netip.MustParseAddrPort("11.22.33.20:3478")
	w := newWorld(t, func(o *Options) { o.Policy.Draining, o.Policy.Alternates = true, []netip.AddrPort{other} })
	c := w.caller("alice", "11.22.33.101:1000")
	got := c.allocate().want(300).wantSigned(c)
	var alt stun.AlternateServer
	if err := alt.GetFrom(&got.Message); err != nil || alt.IP.String() != "11.22.33.20" || alt.Port != 3478 {
		t.Errorf("ALTERNATE-SERVER %v %v", alt, err)
	}
	d := w.caller("alice", "[2a11:22:33::101]:1000")
	d.allocate().want(508).wantSigned(d) // it may not have the other family
	c.unsigned = true
	c.request(stun.MethodBinding).want(0) // Binding is still answered
}
