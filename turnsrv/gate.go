package turnsrv

import (
	"net/netip"
	"sync"
)

// gate counts connections, by transport or group of them, and refuses those above the limits, so that strangers
// who never authenticate cannot use up memory or descriptors.
type gate struct {
	limits Limits

	mu      sync.Mutex // guards all below
	callers map[netip.Prefix]caller
	waiting int // sum of all anonymous
	all     int
}

// caller counts the connections of one address.
type caller struct{ anonymous, all int }

// Why a connection was refused; labels of rtcd_turn_connections_refused_total.
const (
	refusedPerIP     = "per_ip"
	refusedCaller    = "per_ip_total"
	refusedAnonymous = "unauthenticated"
	refusedAll       = "total"
	refusedProxy     = "proxy"  // of a proxy, without a word whose it is
	refusedCookie    = "cookie" // DTLS: made room for another, before it returned the cookie
)

// enter counts a new connection in, or says why not.
func (g *gate) enter(ip netip.Addr) (refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := callerOf(ip)
	c := g.callers[key]
	switch {
	case g.all >= g.limits.Connections:
		return refusedAll
	case g.waiting >= g.limits.Unauthenticated:
		return refusedAnonymous
	case c.anonymous >= g.limits.ConnectionsPerIP:
		return refusedPerIP
	case c.all >= g.limits.AllPerIP:
		return refusedCaller
	}
	if g.callers == nil {
		g.callers = map[netip.Prefix]caller{}
	}
	g.callers[key] = caller{c.anonymous + 1, c.all + 1}
	g.waiting++
	g.all++
	return ""
}

// authenticated tells that a connection is a stranger's no more.
func (g *gate) authenticated(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
	key := callerOf(ip)
	c := g.callers[key]
	c.anonymous--
	g.callers[key] = c
}

// leave counts a connection out.
func (g *gate) leave(ip netip.Addr, authenticated bool) {
	if !authenticated {
		g.authenticated(ip)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	key := callerOf(ip)
	c := g.callers[key]
	if c.all--; c.all == 0 {
		delete(g.callers, key)
		return
	}
	g.callers[key] = c
}

// callerOf is what one caller can hardly have many of: an IPv4 address, or the /64
// of an IPv6 one.
func callerOf(ip netip.Addr) netip.Prefix {
	bits := 32
	if ip = ip.Unmap(); ip.Is6() {
		bits = 64
	}
	p, _ := ip.WithZone("").Prefix(bits)
	return p
}
