package relay_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"rtcd/turnsrv/relay"
)

// A step is eight bytes: what happens, to whom, and how. Every value means
// something, so that a fuzzer's bytes are never wasted.
type step [8]byte

// kinds says how likely each happening is.
var kinds = []func(*sequence, step){
	(*sequence).allocate, (*sequence).allocate, (*sequence).allocate, (*sequence).allocate,
	(*sequence).refresh, (*sequence).refresh,
	(*sequence).createPermission, (*sequence).createPermission, (*sequence).createPermission, (*sequence).createPermission,
	(*sequence).channelBind, (*sequence).channelBind, (*sequence).channelBind,
	(*sequence).send, (*sequence).send, (*sequence).send,
	(*sequence).channelData, (*sequence).channelData, (*sequence).channelData,
	(*sequence).peerSends, (*sequence).peerSends, (*sequence).peerSends,
	(*sequence).pass, (*sequence).pass, (*sequence).pass,
	(*sequence).again, (*sequence).again,
	(*sequence).binding, (*sequence).garbage, (*sequence).flipBit, (*sequence).flipBit,
	(*sequence).icmp, (*sequence).disconnect, (*sequence).sockets, (*sequence).opened, (*sequence).opened,
	(*sequence).setPolicy, (*sequence).kill, (*sequence).loop,
}

// peers are addresses that clients like to reach.
var peers = []netip.AddrPort{
	netip.MustParseAddrPort("11.22.44.1:5000"), netip.MustParseAddrPort("11.22.44.1:5000"),
	netip.MustParseAddrPort("11.22.44.1:5000"), netip.MustParseAddrPort("11.22.44.1:5000"),
	netip.MustParseAddrPort("11.22.44.1:6000"), netip.MustParseAddrPort("11.22.44.2:5000"),
	netip.MustParseAddrPort("11.22.44.2:5000"), netip.MustParseAddrPort("11.22.44.3:5000"),
	netip.MustParseAddrPort("11.22.44.4:5000"), netip.MustParseAddrPort("[2a11:22:44::1]:5000"),
	netip.MustParseAddrPort("[2a11:22:44::2]:5000"), netip.MustParseAddrPort("10.0.0.1:80"),
	netip.MustParseAddrPort("127.0.0.1:3478"), netip.MustParseAddrPort("169.254.169.254:80"),
	netip.MustParseAddrPort("[::ffff:127.0.0.1]:80"), netip.MustParseAddrPort("[::ffff:11.22.44.1]:5000"),
	netip.MustParseAddrPort("[64:ff9b::10.0.0.1]:80"), netip.MustParseAddrPort("[::10.0.0.1]:80"),
	netip.MustParseAddrPort("11.22.33.10:3478"), netip.MustParseAddrPort("11.22.33.10:50001"),
	netip.MustParseAddrPort("11.22.44.1:0"),
}

// peer chooses one of them, or somebody's relayed address.
func (s *sequence) peer(b byte) netip.AddrPort {
	if b < 190 {
		return peers[int(b)%len(peers)]
	}
	l := s.m.lease(s.slots[b%6].endpoint)
	f := int(b/6) % 2
	if l == nil || !l.relays[f].IsValid() {
		return peers[0]
	}
	if b >= 245 {
		return netip.AddrPortFrom(s.m.rules.local[f], l.relays[f].Port())
	}
	return l.relays[f]
}

func (s *sequence) slot(a step) *slot {
	if s.few != nil {
		return s.slots[s.few[a[1]%2]]
	}
	return s.slots[a[1]%8%6]
}

// Announcements of PASSWORD-ALGORITHMS and PASSWORD-ALGORITHM.
const (
	silent    = iota // none: MD5
	chosenMD5        // the list, and MD5
	chosenSHA        // the list, and SHA-256
	tampered         // a list without SHA-256
	noList           // a choice without the list
)

// What may be wrong with a request, one thing at a time.
const (
	nothing = iota
	noIntegrity
	noNonce
	noRealm
	noName // or two
	wrongPassword
	wrongRealm
	oldNonce
	forgedNonce
	wrongIntegrity
	badAlgorithms
	strangeAttribute
	numFaults
)

// build writes a request of a step: credentials by bytes 1 to 3, right for the most
// part, and signed.
func (s *sequence) build(a step, typ uint16, attrs, tail []attr) (*slot, recorded) {
	c := s.slot(a)
	who := c.home
	if a[1] >= 232 {
		who = append(slices.Clone(s.users), &user{name: "1800086400:mallory"})[int(a[1])/2%(len(s.users)+1)]
	}
	fault := nothing
	if a[2] >= 208 {
		fault = int(a[2]) % numFaults
	}
	if fault == nothing && len(c.nonces) == 0 {
		s.challenge(c)
	}
	r := &request{from: c.endpoint, typ: typ, id: s.peekID(a), signed: fault != noIntegrity, user: who, right: true, sha2: a[3]&2 != 0}
	password, itsRealm, style := who.password, realm, a[3]
	r.announce = []int{silent, silent, chosenMD5, chosenSHA}[style>>2&3]
	if style>>5 == 6 {
		slices.Reverse(attrs)
	}
	switch fault {
	case wrongPassword:
		password, r.right = "wrong", false
	case wrongRealm:
		itsRealm, r.right = "elsewhere.example.org", false
	case badAlgorithms:
		r.announce = tampered + int(a[7]&1)
	case strangeAttribute:
		attrs = append(attrs, attr{typ: aStrange, value: []byte{1}})
	}
	if who.name == "1800086400:mallory" {
		r.user = nil
	}
	if r.signed {
		attrs = append(attrs, s.credentials(a, c, who.name, itsRealm, fault, r.announce)...)
	}
	r.attrs = attrs
	raw := appendAttrs(header(typ, r.id), attrs)
	if r.signed {
		raw = appendMAC(raw, loginKey(r.announce == chosenSHA, who.name, itsRealm, password), r.sha2)
		if fault == wrongIntegrity {
			raw[len(raw)-1] ^= 1
			r.right = false
		}
		if style&16 != 0 {
			raw = appendAttrs(raw, tail)
		}
	}
	if a[7]&0x80 == 0 {
		raw = appendCRC(raw)
	}
	s.note("%v %s %x from %v %d: fault %d announce %d style %x", c.transport, who.name, typ, c.addr, len(raw), fault, r.announce, style)
	for _, at := range attrs {
		if at.typ != aNonce && at.typ != aRealm && at.typ != aUsername {
			s.note("  %x = %x %v", at.typ, at.value, at.peer)
		}
	}
	return c, recorded{withLength(raw, len(raw)), r}
}

// peekID is the transaction ID of the step's request: addresses are written with it.
func (s *sequence) peekID(a step) (id [12]byte) {
	if n := len(s.sent); a[7]&0x7F == 0x7F && n > 0 {
		return s.sent[n-1].req.id // used before
	}
	binary.BigEndian.PutUint32(id[:], uint32(s.step))
	copy(id[4:], a[:])
	return id
}

// credentials are USERNAME or USERHASH, REALM, NONCE and the algorithms.
func (s *sequence) credentials(a step, c *slot, name, realmOf string, fault, announce int) (out []attr) {
	hash := sha256.Sum256([]byte(name + ":" + realm))
	if fault != noName || a[7]&1 == 0 {
		if a[3]&1 != 0 {
			out = append(out, attr{typ: aUserhash, value: hash[:]})
		} else {
			out = append(out, attr{typ: aUsername, value: []byte(name)})
		}
		if fault == noName { // both
			out = append(out, attr{typ: aUsername, value: []byte(name)}, attr{typ: aUserhash, value: hash[:]})
		}
	}
	if fault != noRealm {
		out = append(out, attr{typ: aRealm, value: []byte(realmOf)})
	}
	if fault != noNonce {
		out = append(out, attr{typ: aNonce, value: []byte(s.nonce(a, c, fault))})
	}
	algorithms := attr{typ: aAlgorithms, value: []byte{0, 2, 0, 0, 0, 1, 0, 0}}
	switch announce {
	case chosenMD5:
		out = append(out, algorithms, attr{typ: aAlgorithm, value: []byte{0, 1, 0, 0}})
	case chosenSHA:
		out = append(out, algorithms, attr{typ: aAlgorithm, value: []byte{0, 2, 0, 0}})
	case tampered:
		out = append(out, attr{typ: aAlgorithms, value: []byte{0, 1, 0, 0}}, attr{typ: aAlgorithm, value: []byte{0, 1, 0, 0}})
	case noList:
		out = append(out, attr{typ: aAlgorithm, value: []byte{0, 1, 0, 0}})
	}
	return out
}

// nonce is the client's last one, or a worse one.
func (s *sequence) nonce(a step, c *slot, fault int) string {
	own := ""
	if n := len(c.nonces); n > 0 {
		own = c.nonces[n-1]
	}
	switch {
	case fault == oldNonce: // another client's, or an early one of its own
		if other := s.slots[a[7]%6].nonces; len(other) > 0 {
			return other[0]
		}
	case fault == forgedNonce && len(own) > 20 && a[7]&1 != 0: // forged
		b := []byte(own)
		at := len(b) - 2 - int(a[7]>>1)%16
		b[at] = "AB"[(b[at]&1+1)%2] // 'A' is odd: always another letter
		return string(b)
	case fault == forgedNonce:
		return "not a nonce of this server"
	}
	return own
}

// challenge asks for a nonce.
func (s *sequence) challenge(c *slot) {
	r := &request{from: c.endpoint, typ: allocate}
	s.rand.Read(r.id[:])
	r.attrs = []attr{{typ: aTransport, value: []byte{17, 0, 0, 0}}}
	raw := appendCRC(appendAttrs(header(allocate, r.id), r.attrs))
	s.note("%v asks for a nonce", c.addr)
	s.exchange(c, recorded{raw, r})
}

// exchange sends a request and judges the answer.
func (s *sequence) exchange(c *slot, rec recorded) {
	r := rec.req
	allowed, authentic := s.m.expect(r)
	p := &opening{request: r, codes: &allowed}
	if r.typ == allocate && authentic && len(allowed.faults) == 0 && s.m.lease(r.from) == nil {
		p.lease = &lease{
			at: r.from, owner: r.user, id: r.id, pending: true, created: s.m.now, icmp: r.has(aDontFragment),
			permits: map[netip.Addr]time.Duration{}, channels: map[uint16]binding600{},
		}
	}
	opens := p
	if p.lease == nil {
		opens = nil
	} else if !r.has(aToken) {
		for _, f := range wantedFamilies(r) {
			allowed.maybe(s.m.rules.relays[f] && s.scarce(r, f), 508)
		}
	}
	held := len(s.shell.held)
	got := s.fromClient(c, rec.raw, 0, opens)
	if len(s.shell.held) > held {
		if len(got) > 0 {
			s.fail("an answer before the sockets are open: %s", describe(got))
		}
		s.m.leases[r.from] = p.lease
		return
	}
	s.answered(c, p, authentic, got)
}

// answered judges the one answer to a request, or its absence.
func (s *sequence) answered(c *slot, p *opening, authentic bool, got []relay.Send) {
	r := p.request
	if len(got) == 0 {
		if !p.codes.allow(silence) {
			s.fail("no answer, want %v", p.codes)
		}
		s.forget(p)
		return
	}
	if len(got) > 1 || !toClient(r.from, &got[0]) {
		s.fail("want one answer to %v, came %s", r.from.addr, describe(got))
	}
	resp, code := s.read(r, got[0].Body)
	s.note("  → %d", code)
	if !p.codes.allow(code) {
		s.fail("got %d, want %+v", code, *p.codes)
	}
	if authentic && resp.signed != map[bool]string{false: "sha1", true: "sha256"}[r.sha2] {
		s.fail("the answer (%d) is signed %q", code, resp.signed)
	}
	switch {
	case code == 401 || code == 438:
		s.learn(c, &resp)
	case code == 0 && r.typ != allocate && r.typ != binding:
		s.lifetimeOf(r, &resp)
		s.m.succeeded(r)
	case code == 0:
		if mapped := resp.addresses(aMapped); !slices.Equal(mapped, []netip.AddrPort{r.from.addr}) {
			s.fail("the reflexive address is %v", mapped)
		}
		if r.typ == allocate {
			s.allocated(p, &resp)
		}
	case code == 420:
		if list, _ := resp.get(aUnknown); !bytes.Equal(list, u16(aStrange)) {
			s.fail("420 with %x", list)
		}
	}
	if code != 0 {
		s.forget(p)
	}
}

// forget ends an Allocate that was refused.
func (s *sequence) forget(p *opening) {
	if p.lease != nil && s.m.leases[p.request.from] == p.lease {
		delete(s.m.leases, p.request.from)
	}
}

// read decodes an answer and returns its code, 0 for success.
func (s *sequence) read(r *request, raw []byte) (response, int) {
	var key []byte
	if r.user != nil {
		key = loginKey(r.announce == chosenSHA, r.user.name, realm, r.user.password)
	}
	resp, err := decode(raw, key)
	_, printed := resp.get(aFingerprint)
	if err != nil || !printed || resp.id != r.id || resp.typ != r.typ|success && resp.typ != r.typ|failure {
		s.fail("the answer to %x is %v %x", r.typ, err, raw)
	}
	code := 0
	if resp.typ == r.typ|failure {
		if code = resp.code(); code <= 0 {
			s.fail("an error without a code or a phrase: %x", raw)
		}
	}
	if !r.signed && code == 401 && len(raw) > 160 {
		s.fail("a challenge of %d bytes", len(raw))
	}
	return resp, code
}

// learn takes the nonce of a challenge.
func (s *sequence) learn(c *slot, resp *response) {
	nonce, _ := resp.get(aNonce)
	name, _ := resp.get(aRealm)
	if len(nonce) == 0 || len(nonce) > 127 || string(name) != realm {
		s.fail("a challenge with realm %q and nonce %q", name, nonce)
	}
	s.m.nonces[string(nonce)] = issued{c.addr, s.m.unix}
	c.nonces = append(c.nonces, string(nonce))
}

func (s *sequence) lifetimeOf(r *request, resp *response) {
	if r.typ != refresh {
		return
	}
	want := granted(r)
	if v, ok := r.get(aLifetime); ok && binary.BigEndian.Uint32(v) == 0 {
		want = 0
	}
	if v, _ := resp.get(aLifetime); !bytes.Equal(v, u32(uint32(want/time.Second))) {
		s.fail("Refresh grants %x, want %v", v, want)
	}
}

// wantedFamilies are those that an Allocate asks for.
func wantedFamilies(r *request) []int {
	if v, ok := r.get(aFamily); ok && len(v) == 4 && v[0] == 2 {
		return []int{1}
	}
	if r.has(aAdditional) {
		return []int{0, 1}
	}
	return []int{0}
}

// allocated judges what an Allocate was given, the first time or again.
func (s *sequence) allocated(p *opening, resp *response) {
	r, l := p.request, p.lease
	relays := resp.addresses(aRelayed)
	v, _ := resp.get(aLifetime)
	if len(v) != 4 {
		s.fail("no LIFETIME")
	}
	lifetime := time.Duration(binary.BigEndian.Uint32(v)) * time.Second
	if l == nil { // a retransmission
		l = s.m.lease(r.from)
		for _, a := range relays {
			if l.relays[family(a.Addr())] != a {
				s.fail("the retransmission got %v instead of %v", a, l.relays)
			}
		}
		if left := l.expires - s.m.now; lifetime > left || lifetime < left-time.Second {
			s.fail("the retransmission got %v of %v", lifetime, left)
		}
		return
	}
	if lifetime != granted(r) {
		s.fail("LIFETIME is %v, want %v", lifetime, granted(r))
	}
	for _, a := range relays {
		s.claim(p, a)
	}
	s.judgeFamilies(p, resp)
	l.pending, l.expires = false, s.m.now+lifetime
	s.m.leases[r.from] = l
	token, given := resp.get(aToken)
	even, _ := r.get(aEvenPort)
	if given != (len(even) == 1 && even[0]&0x80 != 0) || given && len(token) != 8 {
		s.fail("RESERVATION-TOKEN %x", token)
	}
	if given {
		next := netip.AddrPortFrom(relays[0].Addr(), relays[0].Port()+1)
		s.m.reserved[[8]byte(token)] = &reservation{r.user, next, s.m.now + 30*time.Second}
		s.tokens = append(s.tokens, [8]byte(token))
	}
}

// claim: a relayed address is open, and nobody else's.
func (s *sequence) claim(p *opening, a netip.AddrPort) {
	f := family(a.Addr())
	for _, other := range s.m.leases {
		if other != p.lease && other.relays[f] == a {
			s.fail("%v is %v's already", a, other.at.addr)
		}
	}
	if token, ok := p.request.get(aToken); ok {
		v := s.m.reserved[[8]byte(token)]
		if v.relay != a {
			s.fail("the token is for %v, not %v", v.relay, a)
		}
		delete(s.m.reserved, [8]byte(token))
	}
	for token, v := range s.m.reserved {
		if v.relay == a && v.until > s.m.now {
			s.fail("%v is reserved by %x", a, token)
		}
	}
	if s.shell.open[netip.AddrPortFrom(s.m.rules.local[f], a.Port())] == nil || a.Addr() != s.m.rules.public[f] {
		s.fail("%v is not open", a)
	}
	p.lease.relays[f] = a
}

func (s *sequence) judgeFamilies(p *opening, resp *response) {
	r := p.request
	if r.has(aToken) {
		return
	}
	wanted := wantedFamilies(r)
	missing, told := resp.get(aAddressError)
	for _, f := range wanted {
		if p.lease.relays[f].IsValid() {
			continue
		}
		scarce := !s.m.rules.relays[f] || slices.Contains(p.codes.perhaps, 508)
		if len(wanted) < 2 || !scarce || len(missing) < 4 || int(missing[0]) != f+1 {
			s.fail("no address of family %d, and ADDRESS-ERROR-CODE %x", f+1, missing)
		}
		told = false
	}
	if told {
		s.fail("ADDRESS-ERROR-CODE %x, though nothing is missing", missing)
	}
	for f, a := range p.lease.relays {
		if a.IsValid() && !slices.Contains(wanted, f) {
			s.fail("an address %v that nobody wanted", a)
		}
	}
	if !p.lease.relays[0].IsValid() && !p.lease.relays[1].IsValid() {
		s.fail("success without an address")
	}
}

// request sends what build makes and remembers it.
func (s *sequence) request(a step, typ uint16, attrs, tail []attr) {
	c, rec := s.build(a, typ, attrs, tail)
	s.sent = append(s.sent, rec)
	s.exchange(c, rec)
}
