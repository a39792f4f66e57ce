package signaling

import (
	"slices"
	"time"
)

// What may change while the hub runs.

// SetOrigins replaces Options.Origins for whoever connects from now on.
func (h *Hub) SetOrigins(origins []string) {
	origins = slices.Clone(origins)
	h.origins.Store(&origins)
}

// SetMembers replaces Limits.Members, which is at least 1, for the rooms that are made
// from now on.
func (h *Hub) SetMembers(n int) {
	h.members.Store(int64(n))
	for _, x := range h.allTenants() {
		x.mu.Lock()
		if !x.crowd {
			x.tenant.rules.Members = n
		}
		x.mu.Unlock()
	}
}

// SetStripHostCandidates replaces Options.StripHostCandidates for the signals that come from
// now on.
func (h *Hub) SetStripHostCandidates(strip bool) { h.stripHosts.Store(strip) }

// limits are Options.Limits as they are now.
func (h *Hub) limits() Limits {
	l := h.o.Limits
	l.Members = int(h.members.Load())
	return l
}

// renewWithin is the time over which RenewICE spreads its pushes, so that not all
// members of a large hub make new connections at once.
const renewWithin = 2 * time.Second

// RenewICE replaces the credentials of every member that has some: those whom the
// relay serves are pushed new ones within two seconds, the others get them when they
// are back. What they have goes on working. It is for when the relay's URLs changed.
func (h *Hub) RenewICE() {
	h.mu.Lock()
	sessions := make([]*Session, 0, len(h.sessions))
	for _, s := range h.sessions {
		sessions = append(sessions, s)
	}
	h.mu.Unlock()
	now := time.Now()
	for i, s := range sessions {
		s.in.mu.Lock()
		has := s.purse.servers != nil
		if has {
			s.purse.stale = true
		}
		s.in.mu.Unlock()
		if has {
			h.agenda.sooner(&s.slot, now.Add(renewWithin*time.Duration(i)/time.Duration(len(sessions))))
		}
	}
}
