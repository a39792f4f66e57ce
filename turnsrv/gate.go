package turnsrv

import (
	"net/netip"
	"sync"
)

// gate counts connections, by transport or group of them, and refuses those above the limits, so that strangers
// who never authenticate cannot use up memory or descriptors.
type gate struct {
	limits Limits

	mu        sync.Mutex // guards all below
	anonymous map[netip.Prefix]int
	waiting   int // sum of anonymous
	all       int
}

// Why a connection was refused; labels of rtcd_turn_connections_refused_total.
const (
	refusedPerIP     = "per_ip"
	refusedAnonymous = "unauthenticated"
	refusedAll       = "total"
)

// enter counts a new connection in, or says why not.
func (g *gate) enter(ip netip.Addr) (refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := callerOf(ip)
	switch {
	case g.all >= g.limits.Connections:
		return refusedAll
	case g.waiting >= g.limits.Unauthenticated:
		return refusedAnonymous
	case g.anonymous[key] >= g.limits.ConnectionsPerIP:
		return refusedPerIP
	}
	if g.anonymous == nil {
		g.anonymous = map[netip.Prefix]int{}
	}
	g.anonymous[key]++
	g.waiting++
	g.all++
	return ""
}

// authenticated tells that a connection is a stranger's no more.
func (g *gate) authenticated(ip netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.forgetLocked(ip)
}

// leave counts a connection out.
func (g *gate) leave(ip netip.Addr, authenticated bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if !authenticated {
		g.forgetLocked(ip)
	}
}

func (g *gate) forgetLocked(ip netip.Addr) {
	key := callerOf(ip)
	if g.anonymous[key]--; g.anonymous[key] == 0 {
		delete(g.anonymous, key)
	}
	g.waiting--
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
