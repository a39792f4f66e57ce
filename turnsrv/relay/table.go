package relay

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Table is all allocations of one TURN server and the rules they live by.
type Table struct {
	realm  string
	keys   Keys
	rand   io.Reader
	nonces *nonces

	policy   atomic.Pointer[policy]
	policyMu sync.Mutex // one SetPolicy at a time

	clients addrMap[allocation, *allocation] // UDP clients; a connection holds its own
	sockets addrMap[Socket, *Socket]         // relayed transport addresses, local and public

	// control[hash of the client's address] guards what a client's requests change.
	control [64]sync.Mutex

	lastID     atomic.Uint64
	lifetimes  lifetimes
	population population
	reserved   reservations
	quota      quota
	ports      portSpace
	callers    limiter

	watch  atomic.Pointer[map[netip.Addr]struct{}] // see SetWatch; nil = nobody
	traced tracedAllocations
}

// NewTable returns an empty table. It fails on options that cannot work.
func NewTable(o Options) (*Table, error) {
	switch {
	case o.Realm == "" || len(o.Realm) > MaxRealm:
		return nil, fmt.Errorf("relay: Options.Realm must have 1 to %d bytes", MaxRealm)
	case o.Keys == nil:
		return nil, errors.New("relay: Options.Keys is nil")
	case len(o.NonceKey) < 16:
		return nil, errors.New("relay: Options.NonceKey must have at least 16 bytes")
	}
	t := &Table{realm: o.Realm, keys: o.Keys, rand: o.Rand, nonces: newNonces(o.NonceKey)}
	if t.rand == nil {
		t.rand = rand.Reader
	}
	t.ports.rand = &lockedReader{r: t.rand}
	t.rand = t.ports.rand
	var seed [48]byte
	if _, err := io.ReadFull(t.rand, seed[:]); err != nil {
		return nil, errors.New("relay: random source: " + err.Error())
	}
	for i := range 2 {
		t.clients.seed[i] = binary.LittleEndian.Uint64(seed[8*i:])
		t.sockets.seed[i] = binary.LittleEndian.Uint64(seed[16+8*i:])
		t.callers.seed[i] = binary.LittleEndian.Uint64(seed[32+8*i:])
	}
	t.SetPolicy(o.Policy)
	return t, nil
}

// lockedReader lets an injected random source serve many goroutines.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}

// SetPolicy replaces the policy at once: each flow is judged anew by its next
// packet. Allocations above a lowered quota stay.
func (t *Table) SetPolicy(p Policy) {
	t.policyMu.Lock()
	defer t.policyMu.Unlock()
	before := t.policy.Load()
	if before != nil {
		kept := *before
		kept.relayIPs = t.stillOurs(before)
		before = &kept
	}
	t.policy.Store(compile(p, before))
}

// stillOurs returns the relay addresses of a policy, and those of policies before it at
// which there are allocations. An address that nobody has here any more may be somebody
// else's tomorrow, and then it is a peer like any other.
func (t *Table) stillOurs(p *policy) (ips []netip.Addr) {
	live := map[netip.Addr]bool{}
	for _, r := range p.Relays {
		live[r.Local.Unmap()], live[r.Public.Unmap()] = true, true
	}
	for _, a := range t.lifetimes.all() {
		for f := range a.sockets {
			if s := a.sockets[f].Load(); s != nil {
				live[s.Local.Addr().Unmap()], live[s.Public.Addr().Unmap()] = true, true
			}
		}
	}
	for _, ip := range p.relayIPs {
		if live[ip] {
			ips = append(ips, ip)
		}
	}
	return ips
}

// Policy returns the policy in force, with defaults filled in.
func (t *Table) Policy() Policy { return t.policy.Load().Policy }

// Len is the number of live allocations.
func (t *Table) Len() int { return t.lifetimes.len() }

// Allocations returns a snapshot of all live allocations, in no order.
func (t *Table) Allocations() []Info {
	list := t.lifetimes.all()
	out := make([]Info, 0, len(list))
	for _, a := range list {
		out = append(out, a.info())
	}
	return out
}

// lock returns the mutex of a client's control state.
func (t *Table) lock(c *Client) *sync.Mutex {
	return &t.control[t.clients.hash(addrKey{a: c.Addr})%uint64(len(t.control))]
}

// find returns the client's allocation, pending ones too, or nil.
func (t *Table) find(c *Client) *allocation {
	if c.conn != nil {
		return c.conn.alloc.Load()
	}
	return t.clients.load(c.key())
}

// current is find for control, under the client's lock: an allocation past its
// lifetime is closed now rather than at the next Tick.
func (t *Table) current(now Now, c *Client, b *Batch) *allocation {
	a := t.find(c)
	if a == nil || a.expires.Load() == 0 || a.live(now) {
		return a
	}
	t.closeLocked(now, a, "expired", b)
	return nil
}

// closeLocked ends an allocation. The caller holds the client's lock.
func (t *Table) closeLocked(now Now, a *allocation, reason string, b *Batch) {
	if a.closed {
		return
	}
	a.closed = true
	pending := a.expires.Load() == 0
	info := a.info()
	if !pending {
		t.population.gone(a)
	}
	a.expires.Store(0)
	if a.client.conn != nil {
		a.client.conn.alloc.CompareAndSwap(a, nil)
	} else {
		t.clients.remove(a.client.key(), a)
	}
	t.lifetimes.remove(a)
	for f := range a.sockets {
		if s := a.sockets[f].Swap(nil); s != nil {
			t.closeSocket(now, s, b)
		}
	}
	if a.traced {
		t.traced.remove(a)
	}
	if !a.exempt {
		t.quota.release(a.user, a.client.Addr.Addr())
	}
	if !pending {
		b.Events = append(b.Events, Event{Closed, reason, info})
	}
}

// closeSocket takes a relayed address out of use and lets its port rest.
func (t *Table) closeSocket(now Now, s *Socket, b *Batch) {
	s.state.alloc.Store(nil)
	t.sockets.remove(addrKey{a: s.Local}, s)
	t.sockets.remove(addrKey{a: s.Public}, s)
	t.releasePort(now, s)
	b.Closes = append(b.Closes, s)
}

func (t *Table) releasePort(now Now, s *Socket) {
	t.ports.release(s.state.pool, s.Local.Port(), now.Mono+t.policy.Load().PortRest)
}

// Kill ends the allocation with this ID, and reports whether there was one.
func (t *Table) Kill(now Now, id uint64, reason string, b *Batch) bool {
	return t.kill(now, reason, b, func(a *allocation) bool { return a.id == id }) > 0
}

// KillUser ends every allocation of a user (the user part of the username), and
// returns how many there were. One that is just being made ends too.
func (t *Table) KillUser(now Now, user, reason string, b *Batch) int {
	return t.kill(now, reason, b, func(a *allocation) bool { return a.user == user })
}

func (t *Table) kill(now Now, reason string, b *Batch, match func(*allocation) bool) int {
	n := 0
	for _, a := range t.lifetimes.all() {
		if !match(a) {
			continue
		}
		mu := t.lock(a.client)
		mu.Lock()
		if !a.closed {
			n++
			t.closeLocked(now, a, reason, b)
		}
		mu.Unlock()
	}
	return n
}

// ClientGone ends what a connection held. The shell calls it once, when the
// connection has ended.
func (t *Table) ClientGone(now Now, c *Client, b *Batch) {
	if c.conn == nil {
		return
	}
	mu := t.lock(c)
	mu.Lock()
	defer mu.Unlock()
	if a := c.conn.alloc.Load(); a != nil {
		t.closeLocked(now, a, "disconnected", b)
	}
}

// Tick ends what has outlived its lifetime. Calling it about once a second is
// enough: the data path and control look at the deadlines themselves.
func (t *Table) Tick(now Now, b *Batch) {
	for {
		a := t.lifetimes.due(now.Mono)
		if a == nil {
			break
		}
		mu := t.lock(a.client)
		mu.Lock()
		switch {
		case a.closed:
		case a.expires.Load() == 0 && now.Mono-a.created < pendingMost:
			t.lifetimes.set(a, now.Mono+pendingLook)
		case a.live(now):
			t.lifetimes.set(a, time.Duration(a.expires.Load()))
		default:
			t.closeLocked(now, a, "expired", b)
		}
		mu.Unlock()
	}
	for _, s := range t.reserved.expire(now.Mono) {
		t.releasePort(now, s)
		b.Closes = append(b.Closes, s)
	}
}

// pendingLook is how soon Tick looks again at an allocation whose relay socket is
// still being opened.
const pendingLook = time.Second

// pendingMost is how long it may take at most: then the shell has lost it, and it
// must not hold a place of a quota for ever.
const pendingMost = 30 * time.Second

// own reports whether an address is a live relayed address of this table.
func (t *Table) own(a netip.AddrPort) bool { return t.sockets.load(addrKey{a: a}) != nil }
