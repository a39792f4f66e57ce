package relay

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

func TestBinding(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.unsigned = true
	got := c.request(stun.MethodBinding).want(0)
	if a := got.address(stun.AttrXORMappedAddress); a != c.client.Addr {
		t.Errorf("mapped address %v, want %v", a, c.client.Addr)
	}
	if got.size != 40 {
		t.Errorf("a Binding answer has %d bytes, want 40", got.size)
	}
	c.request(stun.MethodBinding, raw(0x0003, 0, 0, 0, 6)).want(420) // CHANGE-REQUEST
	m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodBinding, stun.ClassIndication))
	c.send(m.Raw)
	w.wantSilence("a Binding indication")
	classic := bytes.Clone(m.Raw)
	classic[1], classic[4] = 1, 0 // RFC 3489: a request without the cookie
	c.send(classic)
	w.wantSilence("a request without the magic cookie")
}

func TestAllocate(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	first := c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport})).want(401)
	if v, err := first.Get(stun.AttrPasswordAlgorithms); err != nil || !bytes.Equal(v, passwordAlgorithms) {
		t.Errorf("PASSWORD-ALGORITHMS %x %v", v, err)
	}
	if first.Contains(stun.AttrSoftware) {
		t.Error("SOFTWARE is sent")
	}
	got := c.mustAllocate().wantSigned(c)
	if got.lifetime() != 600 || got.address(stun.AttrXORMappedAddress) != c.client.Addr {
		t.Errorf("lifetime %d, mapped %v", got.lifetime(), got.address(stun.AttrXORMappedAddress))
	}
	if c.relay.Addr() != relayV4 || c.relay.Port() < 50000 || c.relay.Port() > 50099 {
		t.Errorf("relayed address %v", c.relay)
	}
	if w.lastEvent() != "allocated alice " {
		t.Errorf("event %s", w.lastEvent())
	}
	c.refresh(lifetime(0)).want(0).wantSigned(c)
	if w.lastEvent() != "closed alice released" || w.table.Len() != 0 || len(w.closed) != 1 {
		t.Errorf("after Refresh 0: %s, %d left, %d closed", w.lastEvent(), w.table.Len(), len(w.closed))
	}
	c.mustAllocate() // the same 5-tuple again, at once
}

// What a stranger is answered has 160 bytes at most, and no realm makes it longer.
func TestChallengeIsShort(t *testing.T) {
	for n, ok := range map[int]bool{0: false, 1: true, MaxRealm: true, MaxRealm + 1: false} {
		realm := strings.Repeat("r", n)
		_, err := NewTable(Options{Realm: realm, Keys: fakeKeys{}, NonceKey: make([]byte, 16)})
		if (err == nil) != ok {
			t.Errorf("a realm of %d bytes: %v", n, err)
		}
		if !ok {
			continue
		}
		w := newWorld(t, func(o *Options) { o.Realm = realm })
		c := w.caller("alice", "11.22.33.101:1000")
		got := c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport})).want(401)
		if c.learn(got); got.size > 160 || c.realm != realm {
			t.Errorf("a realm of %d bytes: the 401 has %d bytes and the realm %q", n, got.size, c.realm)
		}
	}
}

func TestAllocateRetransmission(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.allocate() // learns the nonce, allocates
	c.refresh(lifetime(0)).want(0)
	w.hold = true
	m := c.message(stun.MethodAllocate, attrs{udpTransport})
	w.take()
	c.send(m.Raw)
	c.send(m.Raw)
	w.wantSilence("an Allocate whose socket is being opened, and its retransmission")
	if len(w.held) != 1 {
		t.Fatalf("%d sockets asked for, want 1", len(w.held))
	}
	w.hold = false
	w.open(w.held[0])
	w.flush()
	first := w.take()
	c.send(m.Raw)
	again := w.take()
	if len(first) != 1 || len(again) != 1 || !bytes.Equal(first[0].Head, again[0].Head) {
		t.Fatalf("the retransmission is answered differently: %v and %v", first, again)
	}
	c.allocate().want(437).wantSigned(c) // another transaction
}

// A late retransmission is told what the first answer told, and the time that is left.
func TestLateAllocateRetransmission(t *testing.T) {
	for name, a := range map[string]stun.Setter{
		"reservation":          raw(stun.AttrEvenPort, 0x80),
		"half of two families": raw(attrAdditionalAddressFamily, 2, 0, 0, 0),
	} {
		w := newWorld(t, func(o *Options) { o.Policy.Relays = o.Policy.Relays[:1] })
		c := w.caller("alice", "11.22.33.101:1000")
		c.exchangeChallenge()
		m := c.message(stun.MethodAllocate, attrs{udpTransport, a})
		first := c.exchange(m).want(0)
		w.pass(time.Minute)
		again := c.exchange(m).want(0)
		if first.lifetime() != 600 || again.lifetime() != 540 {
			t.Errorf("%s: lifetimes %d and %d", name, first.lifetime(), again.lifetime())
		}
		for _, typ := range []stun.AttrType{stun.AttrXORRelayedAddress, stun.AttrXORMappedAddress, stun.AttrReservationToken, attrAddressErrorCode} {
			v1, err1 := first.Get(typ)
			v2, err2 := again.Get(typ)
			if !bytes.Equal(v1, v2) || (err1 == nil) != (err2 == nil) {
				t.Errorf("%s: %v was %x, is %x", name, typ, v1, v2)
			}
		}
	}
}

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
	w := newWorld(t, func(o *Options) { o.Policy.Draining, o.Policy.Alternate = true, other })
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

func TestWrongCredentials(t *testing.T) {
	w := newWorld(t)
	alice := w.caller("alice", "11.22.33.101:1000")
	alice.mustAllocate()
	mallory := w.caller("bob", "11.22.33.101:1000") // the same 5-tuple
	mallory.refresh(lifetime(0)).want(441).wantSigned(mallory)
	mallory.permit(peerA).want(441)
	mallory.bind(0x4000, peerA).want(441)
	alice.refresh().want(0)
}

func TestNonce(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	old := c.nonce
	w.pass(599 * time.Second)
	c.exchange(c.message(stun.MethodRefresh, nil)).want(0)
	w.pass(2 * time.Second)
	got := c.exchange(c.message(stun.MethodRefresh, nil)).want(438).wantSigned(c)
	c.learn(got)
	if c.nonce == old {
		t.Error("438 brings the nonce that was stale")
	}
	c.exchange(c.message(stun.MethodRefresh, nil)).want(0)

	thief := w.caller("alice", "11.22.33.102:1000") // another address, the same nonce
	thief.nonce, thief.realm = c.nonce, c.realm
	thief.exchange(thief.message(stun.MethodAllocate, attrs{udpTransport})).want(438)
	thief.nonce = "0123456789"
	thief.exchange(thief.message(stun.MethodAllocate, attrs{udpTransport})).want(438)

	// The key outlives a restart: a client of before gets 437 at once.
	again := newWorld(t)
	again.now = w.now
	c.w = again
	c.exchange(c.message(stun.MethodRefresh, nil)).want(437)
}

func TestModernCredentials(t *testing.T) {
	for _, c := range []struct {
		alg     uint16
		sha2    bool
		useHash bool
	}{{algMD5, false, false}, {algSHA256, false, false}, {algSHA256, true, true}, {algMD5, true, true}, {0, true, false}} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			w := newWorld(t)
			a := w.caller("alice", "11.22.33.101:1000")
			a.algorithm, a.sha2, a.useHash = c.alg, c.sha2, c.useHash
			got := a.mustAllocate()
			if got.Contains(stun.AttrMessageIntegritySHA256) != c.sha2 || got.Contains(stun.AttrMessageIntegrity) == c.sha2 {
				t.Errorf("the answer is not signed the way of the request: %v", got.Attributes)
			}
			a.refresh().want(0)
		})
	}
}

func TestBidDownIsRefused(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.exchangeChallenge()
	key := longTermKey(algMD5, c.username, c.realm, c.password)
	build := func(a ...stun.Setter) *stun.Message {
		list := attrs{udpTransport, stun.NewUsername(c.username), stun.NewRealm(c.realm), stun.NewNonce(c.nonce)}
		list = append(list, a...)
		c.unsigned = true
		return c.message(stun.MethodAllocate, append(list, stun.MessageIntegrity(key)))
	}
	onlyMD5 := raw(stun.AttrPasswordAlgorithms, 0, 1, 0, 0)
	md5 := raw(stun.AttrPasswordAlgorithm, 0, 1, 0, 0)
	c.exchange(build(onlyMD5, md5)).want(400)                                            // the list was cut on the way
	c.exchange(build(raw(stun.AttrPasswordAlgorithms, passwordAlgorithms...))).want(400) // no choice
	c.exchange(build(md5)).want(400)                                                     // no list
	c.exchange(build(raw(stun.AttrPasswordAlgorithms, passwordAlgorithms...), raw(stun.AttrPasswordAlgorithm, 0, 9, 0, 0))).want(400)
	// A nonce whose feature bits were cleared on the way is not ours.
	c.nonce = nonceCookie + "AAAA" + c.nonce[len(nonceCookie)+4:]
	c.exchange(build()).want(438)
}

func TestUserhashThatNobodyKnows(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.exchangeChallenge()
	known := c.username
	c.username, c.useHash = "1800003600:elsewhere", true
	got := c.exchange(c.message(stun.MethodAllocate, attrs{udpTransport})).want(401)
	c.learn(got)
	features, fresh := w.table.nonces.check([]byte(c.nonce), w.now.Unix, c.client.Addr)
	if !fresh || features&featureUsernameAnonymity != 0 {
		t.Error("the next nonce still asks for USERHASH")
	}
	c.username, c.useHash = known, false
	c.mustAllocate()
}

func TestAttributesAfterIntegrityAreIgnored(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	m := c.message(stun.MethodRefresh, nil)
	m.Raw = m.Raw[:len(m.Raw)-8] // FINGERPRINT off
	m.Length -= 8
	m.WriteLength()
	m.Add(stun.AttrLifetime, []byte{0, 0, 0, 0})
	if err := stun.Fingerprint.AddTo(m); err != nil {
		t.Fatal(err)
	}
	if got := c.exchange(m).want(0).lifetime(); got != 600 {
		t.Errorf("LIFETIME behind MESSAGE-INTEGRITY was obeyed: %d", got)
	}
	if w.table.Len() != 1 {
		t.Error("the allocation is gone")
	}
}

// Behind MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and FINGERPRINT count, and
// behind that one FINGERPRINT alone. Of two tags the stronger one decides.
func TestBothIntegrities(t *testing.T) {
	for _, good := range []bool{true, false} {
		w := newWorld(t)
		c := w.caller("alice", "11.22.33.101:1000")
		c.mustAllocate()
		key := longTermKey(algMD5, c.username, c.realm, c.password)
		c.unsigned = true
		m := c.message(stun.MethodRefresh, attrs{
			lifetime(700), stun.NewUsername(c.username), stun.NewRealm(c.realm), stun.NewNonce(c.nonce), stun.MessageIntegrity(key),
		})
		m.Add(stun.AttrLifetime, []byte{0, 0, 0, 0}) // between the two
		m.Add(stun.AttrMessageIntegritySHA256, make([]byte, 32))
		if good {
			copy(m.Raw[len(m.Raw)-32:], hmac256(key, m.Raw[:len(m.Raw)-36]))
		}
		m.Add(stun.AttrLifetime, []byte{0, 0, 0, 0})
		if err := stun.Fingerprint.AddTo(m); err != nil {
			t.Fatal(err)
		}
		got := c.exchange(m)
		if !good {
			got.want(401)
		} else if got.want(0); got.lifetime() != 700 || !got.Contains(stun.AttrMessageIntegritySHA256) {
			t.Errorf("lifetime %d, %v", got.lifetime(), got.Attributes)
		}
		if w.table.Len() != 1 {
			t.Error("a LIFETIME that is not signed was obeyed")
		}
	}
}

func TestLifetimes(t *testing.T) {
	for _, c := range []struct{ ask, want uint32 }{{1, 600}, {600, 600}, {777, 777}, {3600, 3600}, {100000, 3600}, {0, 600}} {
		w := newWorld(t)
		a := w.caller("alice", "11.22.33.101:1000")
		if got := a.mustAllocate(lifetime(c.ask)).lifetime(); got != c.want {
			t.Errorf("Allocate with %d: %d, want %d", c.ask, got, c.want)
		}
		w.pass(time.Duration(c.want)*time.Second - time.Millisecond)
		if w.table.Len() != 1 {
			t.Errorf("gone before its %d s", c.want)
		}
		w.pass(time.Millisecond)
		if w.table.Len() != 0 || w.lastEvent() != "closed alice expired" || len(w.closed) != 1 {
			t.Errorf("after %d s: %d left, %s", c.want, w.table.Len(), w.lastEvent())
		}
	}
	w := newWorld(t)
	a := w.caller("alice", "11.22.33.101:1000")
	a.mustAllocate(lifetime(3600))
	a.refresh(lifetime(700)).want(0) // shortened
	w.pass(700 * time.Second)
	if w.table.Len() != 0 {
		t.Error("a shortened lifetime is not kept")
	}
	a.mustAllocate()
	w.pass(500 * time.Second)
	a.refresh().want(0)
	w.pass(500 * time.Second)
	if w.table.Len() != 1 {
		t.Error("a refresh does not lengthen")
	}
}

func TestExpiryIsSeenBeforeTheTick(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	w.now.Mono += 601 * time.Second // no tick
	w.take()
	c.channelData(0x4000, "late")
	w.wantSilence("data after the lifetime")
	c.refresh().want(437)
	c.mustAllocate()
}

func TestExpiredCredentialKeepsItsAllocation(t *testing.T) {
	for _, strict := range []bool{false, true} {
		w := newWorld(t, func(o *Options) { o.Policy.StrictExpiry = strict })
		c := w.caller("alice", "11.22.33.101:1000")
		c.mustAllocate()
		w.keys[c.username] = Login{Verdict: Expired, Passwords: []string{c.password}, User: "alice"}
		want := 0
		if strict {
			want = 401
		}
		c.refresh().want(want)
		c.permit(peerA).want(want)
		c.bind(0x4000, peerA).want(want)
		other := w.caller("alice", "11.22.33.102:1000")
		other.allocate().want(401)
	}
}

func TestEvenPortAndReservation(t *testing.T) {
	w := newWorld(t)
	for range 20 {
		c := w.caller("alice", fmt.Sprintf("11.22.33.101:%d", 1000+len(w.opened)))
		c.w.table.quota = quota{}
		c.mustAllocate(raw(stun.AttrEvenPort, 0))
		if c.relay.Port()%2 != 0 {
			t.Fatalf("EVEN-PORT gave %d", c.relay.Port())
		}
		w.table.Kill(w.now, w.table.lastID.Load(), "test", &w.batch)
		w.flush()
	}
	w = newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	got := c.mustAllocate(raw(stun.AttrEvenPort, 0x80))
	token, err := got.Get(stun.AttrReservationToken)
	if err != nil || len(token) != 8 {
		t.Fatalf("RESERVATION-TOKEN %x %v", token, err)
	}
	thief := w.caller("bob", "11.22.33.103:1000")
	thief.allocate(raw(stun.AttrReservationToken, token...)).want(508) // another user's token
	d := w.caller("alice", "11.22.33.102:1000")
	d.mustAllocate(raw(stun.AttrReservationToken, token...))
	if d.relay != netip.AddrPortFrom(c.relay.Addr(), c.relay.Port()+1) {
		t.Errorf("the reserved port: %v after %v", d.relay, c.relay)
	}
	e := w.caller("alice", "11.22.33.104:1000")
	e.allocate(raw(stun.AttrReservationToken, token...)).want(508) // used

	f := w.caller("alice", "11.22.33.105:1000")
	f.mustAllocate(raw(stun.AttrEvenPort, 0x80))
	closed := len(w.closed)
	w.pass(31 * time.Second)
	if len(w.closed) != closed+1 {
		t.Error("a reservation nobody came for is not given back after 30 s")
	}
}

func TestDualAllocation(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	got := c.mustAllocate(raw(attrAdditionalAddressFamily, 2, 0, 0, 0))
	var relays []netip.AddrPort
	for _, a := range got.Attributes {
		if a.Type == stun.AttrXORRelayedAddress {
			r, _ := xorAddress(a.Value, got.TransactionID)
			relays = append(relays, r)
		}
	}
	if len(relays) != 2 || relays[0].Addr() != relayV4 || relays[1].Addr() != relayV6 {
		t.Fatalf("relayed addresses %v", relays)
	}
	c.permit(peerA, peerV6).want(0)
	w.take()
	c.sendIndication(peerV6, "six")
	if s := w.take(); len(s) != 1 || s[0].To != peerV6 || s[0].Via != w.socket(relays[1]) {
		t.Fatalf("to the IPv6 peer: %+v", s)
	}
	c.refresh(lifetime(0), raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0)).want(0)
	if w.table.Len() != 1 || len(w.closed) != 1 || w.closed[0].Public != relays[1] {
		t.Fatal("the IPv6 half alone should be gone")
	}
	c.permit(peerV6).want(443)
	c.permit(peerA).want(0)
	c.refresh(lifetime(0), raw(stun.AttrRequestedAddressFamily, 1, 0, 0, 0)).want(0)
	if w.table.Len() != 0 {
		t.Error("the last half should take the allocation along")
	}

	w = newWorld(t, func(o *Options) { o.Policy.Relays = o.Policy.Relays[:1] })
	c = w.caller("alice", "11.22.33.101:1000")
	got = c.mustAllocate(raw(attrAdditionalAddressFamily, 2, 0, 0, 0))
	v, err := got.Get(attrAddressErrorCode)
	if err != nil || v[0] != 2 || v[2] != 4 || v[3] != 40 {
		t.Errorf("ADDRESS-ERROR-CODE %x %v, want IPv6, 440", v, err)
	}
}

func TestIPv6Allocation(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "[2a11:22:33::101]:1000")
	c.client.Local = netip.MustParseAddrPort("[2a11:22:33::10]:3478")
	c.mustAllocate(raw(stun.AttrRequestedAddressFamily, 2, 0, 0, 0))
	if c.relay.Addr() != relayV6 {
		t.Fatalf("relayed address %v", c.relay)
	}
	c.bind(0x4000, peerV6).want(0)
	w.take()
	c.channelData(0x4000, "hello")
	c.wantToPeer(peerV6, "hello")
	for _, bad := range []string{"::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1", "fd00::1", "::", "::7f00:1"} {
		c.request(stun.MethodCreatePermission, xor6(netip.MustParseAddr(bad))).want(403)
	}
	c.permit(peerA).want(443)
}

func TestPorts(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Policy.MinPort, o.Policy.MaxPort = 50000, 50009
		o.Policy.Limits.AllocationsPerUser = -1
	})
	seen := map[uint16]bool{}
	var order []uint16
	for i := range 10 {
		c := w.caller("alice", fmt.Sprintf("11.22.33.101:%d", 1000+i))
		c.mustAllocate()
		seen[c.relay.Port()] = true
		order = append(order, c.relay.Port())
	}
	if len(seen) != 10 || slices.IsSorted(order) {
		t.Errorf("ports %v, want ten different ones in random order", order)
	}
	c := w.caller("alice", "11.22.33.101:2000")
	c.allocate().want(508)
	w.table.Kill(w.now, 1, "test", &w.batch)
	w.flush()
	c.allocate().want(508) // the port rests
	w.pass(119 * time.Second)
	c.allocate().want(508)
	w.pass(time.Second)
	c.mustAllocate()
	if c.relay.Port() != order[0] {
		t.Errorf("got port %d, want the rested %d", c.relay.Port(), order[0])
	}
}

func TestTakenPorts(t *testing.T) {
	free := uint16(50007)
	w := newWorld(t, func(o *Options) { o.Policy.MinPort, o.Policy.MaxPort = 50000, 50009 })
	w.fail = func(s *Socket) error {
		if s.Local.Port() != free {
			return fmt.Errorf("bind: %w", ErrPortTaken)
		}
		return nil
	}
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	if c.relay.Port() != free {
		t.Errorf("port %d, want the only free one, %d", c.relay.Port(), free)
	}
	d := w.caller("alice", "11.22.33.102:1000")
	d.allocate().want(508).wantSigned(d)
	w.fail = func(*Socket) error { return errors.New("too many open files") }
	w.pass(3 * time.Minute)
	d.allocate().want(508)
	p := w.table.Policy()
	p.PortRest = -1 // without a rest, too, each port is tried once
	w.table.SetPolicy(p)
	w.fail = func(*Socket) error { return ErrPortTaken }
	w.pass(time.Minute)
	d.allocate().want(508)
	if w.table.Len() != 1 {
		t.Errorf("%d allocations, want 1", w.table.Len())
	}
}

func TestQuotas(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.Policy.Limits = Limits{AllocationsPerUser: 2, AllocationsPerIP: 3, Allocations: 4}
	})
	w.keys["1800003600"] = Login{Verdict: Valid, Passwords: []string{"pw-"}}
	a1, a2 := w.caller("alice", "11.22.33.101:1"), w.caller("alice", "11.22.33.101:2")
	a1.mustAllocate()
	a2.username = "1800003600:alice"
	a2.mustAllocate()
	w.caller("alice", "11.22.33.102:1").allocate().want(486) // her third
	w.caller("bob", "11.22.33.101:3").mustAllocate()
	w.caller("bob", "11.22.33.101:4").allocate().want(486) // the address's fourth
	nobody := w.caller("", "11.22.33.103:1")
	nobody.username = "1800003600"
	nobody.mustAllocate()
	w.caller("bob", "11.22.33.104:1").allocate().want(486) // the fifth of all
	a1.refresh(lifetime(0)).want(0)
	w.caller("bob", "11.22.33.104:1").mustAllocate()
	if len(w.table.quota.users) != 2 || w.table.quota.total != 4 {
		t.Errorf("quota %v", &w.table.quota)
	}
}

// The server's own user takes no place, and gives none back.
func TestOwnUserIsOutsideOfTheQuotas(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.Limits = Limits{AllocationsPerUser: 1, AllocationsPerIP: 1, Allocations: 1} })
	w.keys["1800003600:own"] = Login{Verdict: Valid, Passwords: []string{"pw-own"}, User: "own", Exempt: true}
	own := w.caller("own", "11.22.33.101:1")
	own.mustAllocate()
	w.caller("own", "11.22.33.101:2").mustAllocate()
	alice := w.caller("alice", "11.22.33.101:3")
	alice.mustAllocate()
	w.caller("own", "11.22.33.101:4").mustAllocate()
	own.refresh(lifetime(0)).want(0)
	w.caller("bob", "11.22.33.101:5").allocate().want(486)
	alice.refresh(lifetime(0)).want(0)
	if w.table.quota.total != 0 || len(w.table.quota.users) != 0 {
		t.Errorf("quota %v", &w.table.quota)
	}
}

func TestCapsOnPermissionsAndChannels(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Policy.Limits.Permissions, o.Policy.Limits.Channels = 3, 2 })
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	ip := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 22, 44, byte(i)}), 9)
	}
	c.permit(ip(1), ip(2), ip(3), ip(4)).want(508)
	w.take()
	c.sendIndication(ip(1), "x")
	w.wantSilence("nothing of a refused CreatePermission is installed")
	c.permit(ip(1), ip(2)).want(0)
	c.permit(ip(1), ip(2)).want(0) // a refresh takes no place
	c.bind(0x4000, ip(1)).want(0)
	c.bind(0x4001, ip(3)).want(0)
	c.bind(0x4002, ip(2)).want(508) // channels
	c.permit(ip(4)).want(508)
	w.pass(5*time.Minute + time.Second)
	c.permit(ip(4)).want(0) // the others have expired
}

// Who scans by way of permissions is slowed down; who sets up many calls at once is not.
func TestNewPeersOfAnAllocationArePaced(t *testing.T) {
	for _, test := range []struct {
		name      string
		rate      Rate
		atOnce    int           // new peers until the first refusal
		each      time.Duration // that one more takes
		unlimited bool
	}{
		{name: "by default", atOnce: 64, each: time.Second / 5},
		{name: "two a minute", rate: Rate{2, time.Minute}, atOnce: 64, each: 30 * time.Second},
		{name: "unlimited", rate: Rate{N: -1}, unlimited: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, func(o *Options) {
				o.Policy.Limits.NewPeers, o.Policy.Limits.Permissions, o.Policy.Limits.Channels = test.rate, -1, -1
			})
			c, other := w.caller("alice", "11.22.33.101:1000"), w.caller("alice", "11.22.33.101:1001")
			c.mustAllocate()
			other.mustAllocate()
			n := 0
			next := func() netip.AddrPort {
				n++
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, 22, 44 + byte(n>>8), byte(n)}), 9)
			}
			if test.unlimited {
				for range 1000 {
					c.permit(next()).want(0)
				}
				return
			}
			first := next()
			c.permit(first).want(0)
			for range test.atOnce/2 - 1 {
				c.permit(next()).want(0)
				c.permit(first).want(0) // a refresh takes none
			}
			for i := range test.atOnce / 2 {
				c.bind(0x4000+uint16(i), next()).want(0)
			}
			c.permit(next()).want(508)
			c.bind(0x5000, next()).want(508)
			c.permit(first).want(0)
			c.permit(first, next()).want(508) // all or none
			other.permit(next()).want(0)      // each allocation has its own
			w.pass(test.each)
			c.permit(next(), next()).want(508)
			c.permit(next()).want(0)
			c.permit(next()).want(508)
			if n := w.outcome("permission_denied", "pace"); n != 5 {
				t.Errorf("%d refusals are counted, want 5", n)
			}
		})
	}
}

func TestSourceThatIsARelayedAddressIsNotAnswered(t *testing.T) {
	w := newWorld(t)
	a := w.caller("alice", "11.22.33.101:1000")
	a.mustAllocate()
	loop := w.caller("bob", a.relay.String())
	w.take()
	loop.send(loop.message(stun.MethodAllocate, attrs{udpTransport}).Raw)
	w.wantSilence("a request from one of our own relayed addresses")
}

func TestKillAndDisconnect(t *testing.T) {
	w := newWorld(t)
	a, b := w.caller("alice", "11.22.33.101:1000"), w.connected("alice", "11.22.33.101:1001", TCP)
	a.mustAllocate()
	b.mustAllocate()
	if !b.client.Authenticated() || !b.client.HasAllocation() {
		t.Error("the connection does not know that it authenticated")
	}
	w.table.ClientGone(w.now, b.client, &w.batch)
	w.flush()
	if w.lastEvent() != "closed alice disconnected" {
		t.Error(w.lastEvent())
	}
	if n := w.table.KillUser(w.now, "alice", "kicked", &w.batch); n != 1 {
		t.Errorf("killed %d, want 1", n)
	}
	w.flush()
	if w.lastEvent() != "closed alice kicked" || w.table.Len() != 0 || len(w.closed) != 2 {
		t.Error(w.lastEvent())
	}
	a.refresh().want(437)
}

// Whoever keeps accounts hears of each allocation's life, of all its bytes in the end.
func TestEventsTellTheBytes(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1000")
	c.mustAllocate()
	c.bind(0x4000, peerA).want(0)
	c.channelData(0x4000, "12345")
	c.fromPeer(peerA, "123")
	c.refresh(lifetime(900)).want(0)
	c.fromPeer(peerA, "4567")
	w.pass(900 * time.Second)
	var got []string
	for _, e := range w.events {
		i := e.Info
		got = append(got, fmt.Sprintf("%v %s %v at %v by %v: %d/%d sent, %d/%d received, %s", e.Kind, i.User, i.Client, i.Relays, i.Transport,
			i.SentBytes, i.SentPackets, i.ReceivedBytes, i.ReceivedPackets, e.Reason))
	}
	who := fmt.Sprintf("alice 11.22.33.101:1000 at %v by udp", []netip.AddrPort{c.relay})
	want := []string{
		"allocated " + who + ": 0/0 sent, 0/0 received, ",
		"refreshed " + who + ": 5/1 sent, 3/1 received, ",
		"closed " + who + ": 5/1 sent, 7/2 received, expired",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestDisconnectWhileTheSocketOpens(t *testing.T) {
	w := newWorld(t)
	c := w.connected("alice", "11.22.33.101:1001", TLS)
	c.exchangeChallenge()
	w.hold = true
	c.send(c.message(stun.MethodAllocate, attrs{udpTransport}).Raw)
	w.table.ClientGone(w.now, c.client, &w.batch)
	w.open(w.held[0])
	w.take()
	w.flush()
	w.wantSilence("an answer to nobody")
	if len(w.closed) != 1 || w.table.Len() != 0 || w.table.quota.total != 0 {
		t.Errorf("%d closed, %d allocations, quota %d", len(w.closed), w.table.Len(), w.table.quota.total)
	}
}

func TestRevokedWhileTheSocketOpens(t *testing.T) {
	w := newWorld(t)
	c := w.caller("alice", "11.22.33.101:1001")
	c.exchangeChallenge()
	w.hold = true
	m := c.message(stun.MethodAllocate, attrs{udpTransport})
	c.send(m.Raw)
	w.keys[c.username] = Login{Verdict: Revoked}
	w.take()
	w.open(w.held[0])
	w.flush()
	got := w.take()
	if len(got) != 1 || c.decode(m, got[0]).code != 401 || len(w.closed) != 1 || w.table.Len() != 0 {
		t.Errorf("a revoked user got %d answers, %d closed, %d allocations", len(got), len(w.closed), w.table.Len())
	}
}

func TestAnswersToStrangersAreBounded(t *testing.T) {
	w := newWorld(t)
	count := func(c *caller, n int, m *stun.Message) int {
		w.take()
		for range n {
			c.send(m.Raw)
		}
		return len(w.take())
	}
	c := w.caller("alice", "11.22.33.101:1000")
	c.unsigned = true
	challenge := c.message(stun.MethodAllocate, attrs{udpTransport})
	if n := count(c, 1000, challenge); n != 20 {
		t.Errorf("%d challenges at once, want the burst of 20", n)
	}
	w.pass(10 * time.Second)
	if n := count(c, 1000, challenge); n != 20 {
		t.Errorf("%d challenges after ten seconds, want 20", n)
	}
	other := w.caller("alice", "11.22.33.102:1000")
	if n := count(other, 1, challenge); n != 1 {
		t.Error("one address uses up another's answers")
	}
	tcp := w.connected("alice", "11.22.33.101:1001", TCP)
	if n := count(tcp, 100, challenge); n != 100 {
		t.Errorf("%d of 100 answers over TCP, which cannot be forged", n)
	}
	other.mustAllocate() // has authenticated
	if n := count(other, 1000, challenge); n < 300 {
		t.Errorf("%d challenges to an address that has authenticated, want twenty times as many", n)
	}
	w.pass(10 * time.Minute)
	if n := count(other, 1000, challenge); n != 20 {
		t.Errorf("%d challenges to an address that authenticated ten minutes ago, want 20", n)
	}
	binding := c.message(stun.MethodBinding, nil)
	if n := count(w.caller("alice", "11.22.33.105:1"), 1000, binding); n != 200 {
		t.Errorf("%d Binding answers at once, want 200", n)
	}
}
