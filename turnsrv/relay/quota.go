package relay

import (
	"net/netip"
	"sync"
)

// quota counts allocations per user, per client address and in all. A place is
// taken before the allocation is made and given back exactly once.
type quota struct {
	mu    sync.Mutex // guards everything below
	users map[string]int
	hosts map[netip.Addr]int
	total int
}

// host is what limits per address count on: an IPv4 address or an IPv6 /64, the
// least that one subscriber has.
func host(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is4() {
		return a
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.Addr()
}

// take reserves a place, or says which quota is used up.
func (q *quota) take(l Limits, user string, addr netip.Addr) (used Outcome, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := host(addr)
	switch {
	case user != "" && full(q.users[user], l.AllocationsPerUser):
		return QuotaUser, false
	case full(q.hosts[h], l.AllocationsPerIP):
		return QuotaAddress, false
	case full(q.total, l.Allocations):
		return QuotaTotal, false
	}
	if q.users == nil {
		q.users, q.hosts = map[string]int{}, map[netip.Addr]int{}
	}
	q.total++
	q.hosts[h]++
	if user != "" {
		q.users[user]++
	}
	return 0, true
}

func full(n, limit int) bool { return limit >= 0 && n >= limit }

func (q *quota) release(user string, addr netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := host(addr)
	q.total--
	if q.hosts[h]--; q.hosts[h] == 0 {
		delete(q.hosts, h)
	}
	if user == "" {
		return
	}
	if q.users[user]--; q.users[user] == 0 {
		delete(q.users, user)
	}
}
