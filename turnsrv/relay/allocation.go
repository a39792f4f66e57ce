package relay

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// allocation is the state of one client 5-tuple, from its Allocate request on. It
// is pending until its relay sockets are open.
type allocation struct {
	id        uint64
	client    *Client // a copy for UDP, the connection's own otherwise
	username  string
	user      string
	password  string // the one the client used: it outlives rotation and expiry
	maxBytes  int64
	created   time.Duration
	relayOnly bool
	traced    bool // its user is
	exempt    bool // holds no place of a quota
	icmp      bool // its client is told of ICMP errors

	peers atomic.Uint32 // that it has met

	// Read by the data path without a lock.
	expires atomic.Int64 // Now.Mono; 0 while pending and once closed
	sockets [numFamilies]atomic.Pointer[Socket]
	view    atomic.Pointer[view]
	limits  atomic.Pointer[ownLimits] // nil until asked for; see policy.limits
	flows   [numDirections]traffic

	// Guarded by the Table's lock of the client.
	closed bool
	met    time.Duration // Now.Mono at which its bucket of new peers is full again (GCRA)
	txID   [12]byte      // of the Allocate that made it
	more   *grant        // what its answer told besides; nil for most

	deadline  time.Duration // guarded by lifetimes.mu
	heapIndex int           // guarded by lifetimes.mu; −1 outside the heap
}

// grant is what the answer to an Allocate tells besides addresses and lifetime.
type grant struct {
	token   *[8]byte // of the reserved port
	missing missing
}

// traffic counts and bounds one direction of an allocation.
type traffic struct {
	bytes, packets          atomic.Uint64
	byteBucket, packetQueue atomic.Int64 // Now.Mono at which each bucket is empty again (GCRA)
}

// connection is what a connected client's Client holds for the core.
type connection struct {
	alloc         atomic.Pointer[allocation]
	authenticated atomic.Bool
	expelled      atomic.Bool
}

// socketState is the core's part of a Socket.
type socketState struct {
	alloc atomic.Pointer[allocation]
	pool  *portPool
}

// NewConnection returns the Client of one accepted TCP, TLS or DTLS connection. The
// shell hands the same pointer in until ClientGone.
func NewConnection(addr, local netip.AddrPort, tr Transport, via any) *Client {
	return &Client{Addr: addr, Local: local, Transport: tr, Via: via, conn: new(connection)}
}

// Authenticated reports whether a valid MAC has come on this connection.
func (c *Client) Authenticated() bool { return c.conn != nil && c.conn.authenticated.Load() }

// Expelled reports whether the shell is to close the connection: a stranger's, from
// an address of too many wrong passwords.
func (c *Client) Expelled() bool { return c.conn != nil && c.conn.expelled.Load() }

// HasAllocation reports whether the connection holds an allocation.
func (c *Client) HasAllocation() bool { return c.conn != nil && c.conn.alloc.Load() != nil }

func (c *Client) key() addrKey { return addrKey{c.Addr, c.Local} }

// at implements addressed: the 5-tuple of a UDP client.
func (a *allocation) at(k addrKey) bool { return a.client.Addr == k.a && a.client.Local == k.b }

// at implements addressed: the address where a socket is bound, and the one that
// others see.
func (s *Socket) at(k addrKey) bool { return s.Local == k.a || s.Public == k.a }

// keep returns a Client that outlives the call: the shell uses one scratch Client
// for all UDP packets.
func (c *Client) keep() *Client {
	if c.conn != nil {
		return c
	}
	return &Client{Addr: c.Addr, Local: c.Local, Transport: c.Transport, Via: c.Via}
}

func (a *allocation) live(now Now) bool { return a.expires.Load() > int64(now.Mono) }

func (a *allocation) info() Info {
	i := Info{
		ID: a.id, Username: a.username, User: a.user, Client: a.client.Addr, Transport: a.client.Transport,
		Created: a.created, Expires: time.Duration(a.expires.Load()), Peers: int(a.peers.Load()),
		SentBytes: a.flows[Sent].bytes.Load(), SentPackets: a.flows[Sent].packets.Load(),
		ReceivedBytes: a.flows[Received].bytes.Load(), ReceivedPackets: a.flows[Received].packets.Load(),
	}
	for f := range a.sockets {
		if s := a.sockets[f].Load(); s != nil {
			i.Relays = append(i.Relays, s.Public)
		}
	}
	if v := a.view.Load(); v != nil {
		i.Permissions, i.Channels = len(v.permissions), len(v.byNumber)
	}
	return i
}

// view is all permissions and channels of an allocation at one moment: immutable
// slices of entries whose deadlines alone change.
type view struct {
	permissions []*permission // by address
	byNumber    []*channel
	byPeer      []*channel
}

// permission admits one peer address for five minutes (RFC 8656 section 9).
type permission struct {
	addr    netip.Addr
	expires atomic.Int64 // Now.Mono
	verdict atomic.Uint64
}

// channel binds a number to a peer for ten minutes (RFC 8656 section 12). It is
// half of a flow; the allocation's client is the other.
type channel struct {
	number  uint16
	peer    netip.AddrPort
	perm    *permission
	expires atomic.Int64 // Now.Mono
	verdict atomic.Uint64
}

const (
	permissionLifetime = 5 * time.Minute
	channelLifetime    = 10 * time.Minute
)

func (p *permission) live(now Now) bool { return p.expires.Load() > int64(now.Mono) }
func (c *channel) live(now Now) bool {
	return c.expires.Load() > int64(now.Mono) && c.perm.live(now)
}

// permission returns the entry of an address, live or not.
func (v *view) permission(addr netip.Addr) *permission {
	if i, ok := slices.BinarySearchFunc(v.permissions, addr, byAddr); ok {
		return v.permissions[i]
	}
	return nil
}

// channel returns the entry of a number, live or not.
func (v *view) channel(number uint16) *channel {
	if i, ok := slices.BinarySearchFunc(v.byNumber, number, byNumber); ok {
		return v.byNumber[i]
	}
	return nil
}

// channelTo returns the entry of a peer, live or not.
func (v *view) channelTo(peer netip.AddrPort) *channel {
	if i, ok := slices.BinarySearchFunc(v.byPeer, peer, byPeer); ok {
		return v.byPeer[i]
	}
	return nil
}

func byAddr(p *permission, a netip.Addr) int  { return p.addr.Compare(a) }
func byPeer(c *channel, p netip.AddrPort) int { return c.peer.Compare(p) }
func byNumber(c *channel, n uint16) int       { return int(c.number) - int(n) }
func insert[T any](list []T, at int, v T) []T { return slices.Insert(slices.Clone(list), at, v) }
func searchAt[T, K any](list []T, k K, f func(T, K) int) int {
	i, _ := slices.BinarySearchFunc(list, k, f)
	return i
}

// pruned returns a copy of the view without what has expired. A permission stays
// while a live channel needs it.
func (v *view) pruned(now Now) *view {
	n := &view{}
	used := map[*permission]bool{}
	for _, c := range v.byNumber {
		if c.expires.Load() > int64(now.Mono) {
			n.byNumber = append(n.byNumber, c)
			used[c.perm] = true
		}
	}
	for _, c := range v.byPeer {
		if c.expires.Load() > int64(now.Mono) {
			n.byPeer = append(n.byPeer, c)
		}
	}
	for _, p := range v.permissions {
		if p.live(now) || used[p] {
			n.permissions = append(n.permissions, p)
		}
	}
	return n
}

func (v *view) withPermission(p *permission) *view {
	n := *v
	n.permissions = insert(v.permissions, searchAt(v.permissions, p.addr, byAddr), p)
	return &n
}

func (v *view) withChannel(c *channel) *view {
	n := *v
	n.byNumber = insert(v.byNumber, searchAt(v.byNumber, c.number, byNumber), c)
	n.byPeer = insert(v.byPeer, searchAt(v.byPeer, c.peer, byPeer), c)
	return &n
}

// burst is how far an allocation may run ahead of its bandwidth.
const burst = 500 * time.Millisecond

// admit counts n bytes of application data in one direction, or names the limit
// that stands against it.
func (a *allocation) admit(now Now, d Direction, n int, l *Limits) (Reason, bool) {
	f := &a.flows[d]
	if a.maxBytes > 0 && a.flows[Sent].bytes.Load()+a.flows[Received].bytes.Load()+uint64(n) > uint64(a.maxBytes) {
		return OverBytes, false
	}
	if l.Bandwidth > 0 && !takeFrom(&f.byteBucket, now.Mono, time.Duration(int64(n)*8e9/l.Bandwidth)) {
		return OverBandwidth, false
	}
	if l.Packets > 0 && !takeFrom(&f.packetQueue, now.Mono, time.Duration(1e9/l.Packets)) {
		return OverPackets, false
	}
	f.bytes.Add(uint64(n))
	f.packets.Add(1)
	return 0, true
}

// takeFrom adds cost to a bucket that empties with time; false when it is full.
func takeFrom(bucket *atomic.Int64, now, cost time.Duration) bool {
	for {
		old := bucket.Load()
		at := max(old, int64(now))
		if at-int64(now) > int64(burst) {
			return false
		}
		if bucket.CompareAndSwap(old, at+int64(cost)) {
			return true
		}
	}
}

// peersAtOnce is how many new peers an allocation may have before Limits.NewPeers holds: all
// candidates of many calls that are set up together.
const peersAtOnce = 64

// meets takes so many new peers from the allocation's bucket, all or none. The Table's lock
// of the client is held.
func (a *allocation) meets(now Now, peers int, rate Rate) bool {
	if peers == 0 {
		return true
	}
	if rate.N < 0 {
		a.peers.Add(uint32(peers))
		return true
	}
	each := rate.Per / time.Duration(max(rate.N, 1))
	full := max(a.met, now.Mono) + each*time.Duration(peers)
	if full-now.Mono > each*peersAtOnce {
		return false
	}
	a.met = full
	a.peers.Add(uint32(peers))
	return true
}

// appendChannelHeader writes the four bytes before channel data (RFC 8656 section 12.4).
//
//	|         Channel Number        |            Length             |
func channelHeader(b *Batch, number uint16, n int) []byte {
	h := b.bytes(4)
	binary.BigEndian.PutUint16(h, number)
	binary.BigEndian.PutUint16(h[2:], uint16(n))
	return h
}
