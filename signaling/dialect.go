package signaling

import (
	"net/http"
	"time"
)

// What a dialect needs of the hub, besides Authorize and Open. Its members are like
// those of the native protocol, but that a lost connection is their end.

// OriginAllowed says whether the page that sent r may speak to the hub: the rule of
// Options.Origins, under which a missing Origin is no page.
func (h *Hub) OriginAllowed(r *http.Request) bool { return originAllowed(*h.origins.Load(), r) }

// Address is the address of the client that sent r, as Hello wants it.
func (h *Hub) Address(r *http.Request) string { return h.o.Address(r) }

// Apply carries out a message of a dialect's client, whose form the dialect has
// checked. Answers and events come over the session's Transport.
func (s *Session) Apply(m Message) {
	s.recv.Lock()
	defer s.recv.Unlock()
	s.hub.metrics.verb(m.Type).Inc()
	s.take(time.Now(), &m, nil)
}

// Rename gives the member another user name, as a login after the connection does. Its
// rooms, and those it has met without one, hear that the old name leaves; the rooms, that
// the new one comes. With exclusive a name that somebody else has is refused (CodeTaken);
// a name other than the token's always is (CodeForbidden).
func (s *Session) Rename(user string, exclusive bool) (err *Error) {
	s.in.do(time.Now(), func(t *Tenant, out []Delivery) []Delivery {
		out, err = t.Rename(s.member, user, exclusive, out)
		return out
	})
	return err
}

// ICE returns the member's credentials, with the time that they are still good for. It
// is empty for a member that nobody reaches: in no room of a tenant that is not Direct.
func (s *Session) ICE() (ice ICEServers) {
	now := time.Now()
	s.in.do(now, func(t *Tenant, out []Delivery) []Delivery {
		if !t.serves(s.member) {
			return out
		}
		if servers, ttl := s.in.open(now, s); servers != nil {
			ice = ICEServers{Servers: servers.Servers, TTL: time.Duration(ttl) * time.Second}
		}
		return out
	})
	return ice
}

// Rooms counts the members of each room of the session's tenant that the session's
// token opens.
func (s *Session) Rooms() map[string]int {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	counts := map[string]int{}
	for name, r := range s.in.tenant.rooms {
		if s.member.Opens == "" || s.member.Opens == name {
			counts[name] = len(r.seats)
		}
	}
	return counts
}

// End is the end of a dialect's session: the member leaves, its allocations live on.
func (s *Session) End() { s.expel(ReasonLeft, CloseNormal, "", false, false) }
