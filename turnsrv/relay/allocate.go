package relay

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/pion/stun/v3"
)

// Lifetimes of RFC 8656 section 7.2; longer ones than an hour are not granted.
const (
	defaultLifetime = 600 * time.Second
	maxLifetime     = 3600 * time.Second
	protocolUDP     = 17
)

// pending is an Allocate request that waits for its relay sockets. It belongs to
// whoever holds the client's lock.
type pending struct {
	request  request // answers it; its message's memory is not the batch's
	alloc    *allocation
	lifetime time.Duration
	places   []place // one per socket still to open, the next first
	parity   parity
	opened   []*Socket
	reserve  *Socket // the second of a pair
	missing  missing // the half of a dual allocation that could not be had
}

// place is where a relay socket may be: at one of the addresses, the next to try first.
type place struct {
	family family
	ips    []RelayIP
}

// missing says why one family of a dual allocation is not there; code 0: it is.
type missing struct {
	family family
	code   int
}

// wish is what an Allocate request asks for.
type wish struct {
	families []family
	parity   parity
	token    []byte
	lifetime time.Duration
}

// handleAllocate makes an allocation (RFC 8656 section 7.2). a is the one that the
// client has already, if any.
func (t *Table) handleAllocate(r *request, a *allocation) {
	if a != nil {
		t.allocateAgain(r, a)
		return
	}
	w, code := r.msg.wish()
	if code != 0 {
		t.refuse(r, code)
		return
	}
	p := r.policy
	if p.Draining {
		t.refuseDraining(r)
		return
	}
	w, half, code := p.offer(w)
	if code != 0 {
		t.refuse(r, code)
		return
	}
	if used, ok := t.place(r); !ok {
		r.batch.Counts.came(used)
		t.refuseWhy(r, 486, used.label(), netip.AddrPort{})
		return
	}
	a = &allocation{
		id: t.lastID.Add(1), client: r.client.keep(), username: r.username, user: r.login.User, password: r.password,
		relayOnly: r.login.RelayOnly, traced: r.login.Traced, exempt: r.login.Exempt, icmp: r.msg.has(stun.AttrDontFragment), maxBytes: r.login.MaxBytes, created: r.now.Mono, txID: r.msg.id, heapIndex: -1,
	}
	a.view.Store(&view{})
	if a.client.conn != nil {
		a.client.conn.alloc.Store(a)
	} else {
		t.clients.store(a.client.key(), a)
	}
	t.lifetimes.set(a, r.now.Mono+pendingLook)
	if a.traced {
		t.traced.add(a)
	}

	pend := &pending{request: r.detach(a.client), alloc: a, lifetime: w.lifetime, parity: w.parity, missing: half}
	if w.token != nil {
		s := t.reserved.take(r.now.Mono, w.token, r.username)
		if s == nil {
			t.fail(r.now, pend, 508, r.batch)
			return
		}
		pend.opened = []*Socket{s}
		t.commit(r.now, pend, r.batch)
		return
	}
	for _, f := range w.families {
		pend.places = append(pend.places, place{f, t.spread(p.relays[f])})
	}
	t.openNext(r.now, pend, r.batch)
}

// spread orders the addresses of a family for one allocation: each is as likely as
// the others to be the first.
func (t *Table) spread(ips []RelayIP) []RelayIP {
	if len(ips) < 2 {
		return ips
	}
	first := uniform(t.rand, len(ips))
	return slices.Concat(ips[first:], ips[:first])
}

// place takes a place for a new allocation, or says which limit stands against it.
func (t *Table) place(r *request) (used Outcome, ok bool) {
	limits := r.policy.limitsOf(r.login.User)
	switch {
	case r.login.Exempt:
		return 0, true
	case !t.mayCreate(r, limits):
		return QuotaPace, false
	}
	return t.quota.take(*limits, r.login.User, r.client.Addr.Addr())
}

// mayCreate bounds how fast an address makes allocations: ports rest after use, so
// making and releasing without pause would use all of them up.
func (t *Table) mayCreate(r *request, l *Limits) bool {
	rate := Rate{l.AllocationsPerIP, creationPeriod}
	return t.callers.allow(r.now.Mono, r.client.Addr.Addr(), creations, rate)
}

// creationPeriod is the time in which an address may make as many allocations as it
// may have at once; bursts of twice as many pass.
const creationPeriod = 10 * time.Second

// allocateAgain answers an Allocate on a 5-tuple that has an allocation: as at first
// if it is a retransmission, else 437.
func (t *Table) allocateAgain(r *request, a *allocation) {
	switch {
	case a.txID != r.msg.id || a.username != r.username:
		t.refuse(r, 437)
	case a.expires.Load() == 0:
		r.batch.drop(Pending)
	default:
		r.granted(a)
	}
}

// granted answers an Allocate, the first time or again: the answer is made anew from
// the allocation, with the time that is left (RFC 8656 section 7.2).
func (r *request) granted(a *allocation) {
	msg := r.begin(stun.ClassSuccessResponse)
	for f := range a.sockets {
		if s := a.sockets[f].Load(); s != nil {
			msg = appendXORAddress(msg, stun.AttrXORRelayedAddress, s.Public, r.msg.id)
		}
	}
	left := time.Duration(a.expires.Load()) - r.now.Mono
	msg = appendUint32Attr(msg, stun.AttrLifetime, uint32(left/time.Second))
	if more := a.more; more != nil {
		if more.token != nil {
			msg = appendAttr(msg, stun.AttrReservationToken, more.token[:]...)
		}
		if h := more.missing; h.code != 0 {
			msg = appendErrorCode(msg, attrAddressErrorCode, uint16(h.family+1)<<8, h.code, phrases[h.code])
		}
	}
	r.answer(appendXORAddress(msg, stun.AttrXORMappedAddress, r.client.Addr, r.msg.id), 0)
}

func (t *Table) refuseDraining(r *request) {
	for _, alt := range r.policy.Alternates {
		if familyOf(alt.Addr()) == familyOf(r.client.Addr.Addr()) {
			t.trace(r, TraceRefused, 300, WhyDraining, netip.AddrPort{})
			r.answer(appendPlainAddress(r.errorMessage(300), stun.AttrAlternateServer, alt), 300)
			return
		}
	}
	t.refuseWhy(r, 508, WhyDraining, netip.AddrPort{})
}

// wish reads the attributes of an Allocate request in the order of RFC 8656
// section 7.2; code is the error to answer, 0 for none.
func (m *message) wish() (w wish, code int) {
	transport, ok := m.get(stun.AttrRequestedTransport)
	if !ok || len(transport) != 4 {
		return w, 400
	}
	if transport[0] != protocolUDP {
		return w, 442
	}
	if w.lifetime, ok = m.lifetime(); !ok {
		return w, 400
	}
	w.lifetime = min(max(w.lifetime, defaultLifetime), maxLifetime)
	even, hasEven := m.get(stun.AttrEvenPort)
	requested, hasRequested := m.get(stun.AttrRequestedAddressFamily)
	additional, hasAdditional := m.get(attrAdditionalAddressFamily)
	token, hasToken := m.get(stun.AttrReservationToken)
	if hasToken {
		if hasEven || hasRequested || hasAdditional || len(token) != 8 {
			return w, 400
		}
		w.token = token
		return w, 0
	}
	if hasEven {
		if len(even) != 1 {
			return w, 400
		}
		w.parity = evenPort
		if even[0]&0x80 != 0 { // R: reserve the next port too
			w.parity = portPair
		}
	}
	w.families = []family{ipv4}
	switch {
	case hasRequested && hasAdditional, hasAdditional && w.parity == portPair:
		return w, 400
	case hasRequested:
		f, ok := addressFamily(requested)
		if !ok {
			return w, 440
		}
		w.families[0] = f
	case hasAdditional:
		if f, ok := addressFamily(additional); !ok || f != ipv6 {
			return w, 400
		}
		w.families = []family{ipv4, ipv6}
	}
	return w, 0
}

func addressFamily(v []byte) (family, bool) {
	if len(v) != 4 || v[0] != 1 && v[0] != 2 {
		return 0, false
	}
	return family(v[0] - 1), true
}

// lifetime reads LIFETIME in seconds; without one it is the default.
func (m *message) lifetime() (time.Duration, bool) {
	v, ok := m.get(stun.AttrLifetime)
	if !ok {
		return defaultLifetime, true
	}
	if len(v) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(v)) * time.Second, true
}

// offer cuts the wish to the families that have a relay address: without the only
// one it is 440; of a dual allocation the other half is made and the missing one
// reported (RFC 8656 section 7.2: ADDRESS-ERROR-CODE).
func (p *policy) offer(w wish) (wish, missing, int) {
	var kept []family
	var half missing
	for _, f := range w.families {
		if len(p.relays[f]) > 0 {
			kept = append(kept, f)
		} else {
			half = missing{f, 440}
		}
	}
	w.families = kept
	if len(kept) == 0 && w.token == nil {
		return w, half, 440
	}
	return w, half, 0
}

// detach copies what answers the request later: the message's memory goes with the
// batch.
func (r *request) detach(c *Client) request {
	d := *r
	d.client, d.batch = c, nil
	d.msg = message{typ: r.msg.typ, id: r.msg.id}
	return d
}

// openNext asks for the next relay socket, or commits when all are open. An address
// without a free port gives way to the next one.
func (t *Table) openNext(now Now, p *pending, b *Batch) {
	if len(p.places) == 0 {
		t.commit(now, p, b)
		return
	}
	for at := &p.places[0]; len(at.ips) > 0; at.ips = at.ips[1:] {
		ip, ports := at.ips[0], p.request.policy
		pool, port, ok := t.ports.take(now.Mono, portRange{ip.Local, ports.MinPort, ports.MaxPort}, p.parity)
		if !ok {
			continue
		}
		o := Open{pending: p}
		o.Sockets[0] = newSocket(ip, port, pool)
		if p.parity == portPair {
			o.Sockets[1] = newSocket(ip, port+1, pool)
		}
		b.Opens = append(b.Opens, o)
		return
	}
	t.fail(now, p, 508, b)
}

func newSocket(ip RelayIP, port uint16, pool *portPool) *Socket {
	s := &Socket{Local: netip.AddrPortFrom(ip.Local, port), Public: netip.AddrPortFrom(ip.Public, port)}
	s.state.pool = pool
	return s
}

// Opened reports that the shell has carried out an Open: err is nil when all its
// sockets are bound and have their Handle. An error that wraps ErrPortTaken makes
// the core try another port, any other error another address.
func (t *Table) Opened(now Now, o Open, err error, b *Batch) {
	p := o.pending
	mu := t.lock(p.alloc.client)
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		for _, s := range o.Sockets {
			if s != nil {
				t.ports.release(s.state.pool, s.Local.Port(), now.Mono+refusedRest)
			}
		}
		switch {
		case p.alloc.closed:
			t.discard(now, p, b)
		case errors.Is(err, ErrPortTaken):
			t.openNext(now, p, b)
		default:
			p.places[0].ips = p.places[0].ips[1:]
			t.openNext(now, p, b)
		}
		return
	}
	p.opened = append(p.opened, o.Sockets[0])
	p.reserve = o.Sockets[1]
	p.places = p.places[1:]
	if p.alloc.closed {
		t.discard(now, p, b)
		return
	}
	t.openNext(now, p, b)
}

// fail answers a pending Allocate with an error and forgets it; a dual allocation
// whose first half is open is granted with that half.
func (t *Table) fail(now Now, p *pending, code int, b *Batch) {
	if len(p.opened) > 0 {
		p.missing = missing{p.places[0].family, code}
		p.places = nil
		t.commit(now, p, b)
		return
	}
	t.closeLocked(now, p.alloc, "", b)
	p.request.now, p.request.batch = now, b
	t.refuseWhy(&p.request, code, WhyPorts, netip.AddrPort{})
}

// discard gives the sockets of a pending Allocate back whose client has gone.
func (t *Table) discard(now Now, p *pending, b *Batch) {
	for _, s := range append(p.opened, p.reserve) {
		if s != nil {
			t.closeSocket(now, s, b)
		}
	}
	p.opened, p.reserve = nil, nil
}

// commit brings a pending allocation to life and answers with its addresses.
func (t *Table) commit(now Now, p *pending, b *Batch) {
	a, r := p.alloc, &p.request
	r.now, r.batch = now, b
	if t.keys.Lookup(a.username, now.Unix).Verdict == Revoked { // while the socket was opening
		t.discard(now, p, b)
		t.closeLocked(now, a, "", b)
		b.Counts.came(AuthRevoked)
		t.trace(r, TraceRefused, 401, WhyRevoked, netip.AddrPort{})
		t.challenge(r, 401, allFeatures)
		return
	}
	for _, s := range p.opened {
		s.state.alloc.Store(a)
		a.sockets[familyOf(s.Local.Addr())].Store(s)
		t.sockets.store(addrKey{a: s.Local}, s)
		t.sockets.store(addrKey{a: s.Public}, s)
	}
	if p.reserve != nil {
		token := t.reserved.add(now.Mono, t.rand, p.reserve, a.username)
		a.more = &grant{token: &token}
	} else if p.missing.code != 0 {
		a.more = &grant{missing: p.missing} // of a dual allocation, which reserves nothing
	}
	a.expires.Store(int64(now.Mono + p.lifetime))
	t.lifetimes.set(a, now.Mono+p.lifetime)
	t.population.born(a)
	r.granted(a)
	b.Events = append(b.Events, Event{Kind: Allocated, Info: a.info()})
}

// refusedRest is how long a port rests that could not be opened, whatever the
// policy's rest: each is tried once for a request.
const refusedRest = 10 * time.Second

// reservationLifetime is how long a reserved port waits (RFC 8656 section 7.2).
const reservationLifetime = 30 * time.Second

// reservations are relay sockets that an EVEN-PORT request put aside, by token.
type reservations struct {
	mu    sync.Mutex // guards token
	token map[[8]byte]reservation
}

type reservation struct {
	socket   *Socket
	username string // only who reserved it may take it
	until    time.Duration
}

func (s *reservations) add(now time.Duration, rand io.Reader, socket *Socket, username string) (token [8]byte) {
	if _, err := io.ReadFull(rand, token[:]); err != nil {
		panic("relay: random source failed: " + err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token == nil {
		s.token = map[[8]byte]reservation{}
	}
	s.token[token] = reservation{socket, username, now + reservationLifetime}
	return token
}

// take returns the socket of a token once, or nil.
func (s *reservations) take(now time.Duration, token []byte, username string) *Socket {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.token[[8]byte(token)]
	if !ok || r.username != username || r.until <= now {
		return nil
	}
	delete(s.token, [8]byte(token))
	return r.socket
}

// expire returns the sockets that nobody has come for.
func (s *reservations) expire(now time.Duration) (out []*Socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, r := range s.token {
		if r.until <= now {
			delete(s.token, token)
			out = append(out, r.socket)
		}
	}
	return out
}
