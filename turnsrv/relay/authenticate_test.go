package relay

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

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

	var thief *caller
	for _, addr := range []string{"11.22.33.102:1000", "11.22.33.101:1001"} { // another address or port, the same nonce
		thief = w.caller("alice", addr)
		thief.nonce, thief.realm = c.nonce, c.realm
		thief.exchange(thief.message(stun.MethodAllocate, attrs{udpTransport})).want(438)
	}
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

	// From now on the allocation itself knows whose it is.
	delete(w.keys, known)
	c.useHash = true
	c.exchange(c.message(stun.MethodRefresh, attrs{lifetime(700)})).want(0)
	other := w.caller("bob", "11.22.33.102:1000")
	other.username, other.useHash = known, true
	other.exchangeChallenge()
	other.exchange(other.message(stun.MethodAllocate, attrs{udpTransport})).want(401)
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
