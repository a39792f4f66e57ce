package signaling

import (
	"math"
	"sync"
	"time"
)

// tenancy is a Tenant with its lock, and the way from its deliveries to the
// sessions. Deliveries are queued under the lock, so every member gets them in
// the order in which the tenant decided them; queueing never blocks.
//
// Locks are taken in this order: Session.recv, tenancy.mu, Session.mu; those of
// the hub's map and of the agenda last.
type tenancy struct {
	hub   *Hub
	crowd bool // its rooms hold any number of members
	slot
	sessions int // guarded by the hub's mu

	mu     sync.Mutex // guards the following
	tenant *Tenant
	out    []Delivery // kept between calls for its memory, as turns
	turns  []turn
	revoke []string
	ended  []ending // to be logged
}

// ending is the end of a session.
type ending struct {
	session *Session
	code    int
	reason  string
}

func newTenancy(h *Hub, hello *Hello) *tenancy {
	rules := Rules{
		Members: h.limits().Members, Rooms: h.o.Limits.Rooms, Presence: h.o.Limits.PresenceBytes,
		Keep: h.o.Keep, Open: hello.Direct,
	}
	if hello.Crowd {
		rules.Members = math.MaxInt32
	}
	x := &tenancy{hub: h, crowd: hello.Crowd, tenant: NewTenant(hello.Tenant, rules)}
	x.slot.item = x
	return x
}

// do runs decide under the lock and delivers what it decided.
func (x *tenancy) do(now time.Time, decide func(t *Tenant, out []Delivery) []Delivery) {
	x.doIn(nil, now, decide)
}

// doIn is do for a reader that writes to those in row itself, when it has taken all that came;
// else row is nil.
func (x *tenancy) doIn(row *[]turn, now time.Time, decide func(t *Tenant, out []Delivery) []Delivery) {
	due, revoke := x.decide(row, now, decide)
	x.hub.agenda.sooner(&x.slot, due)
	for _, user := range revoke {
		x.hub.metrics.revoked.Inc()
		x.hub.o.ICE.Revoke(user)
	}
}

// decide is do, but for what is to be revoked.
func (x *tenancy) decide(row *[]turn, now time.Time, decide func(t *Tenant, out []Delivery) []Delivery) (time.Time, []string) {
	due, revoke, ended := x.decideLocked(row, now, decide)
	for _, e := range ended {
		e.session.logEnd(e.code, e.reason)
	}
	return due, revoke
}

func (x *tenancy) decideLocked(row *[]turn, now time.Time, decide func(t *Tenant, out []Delivery) []Delivery) (time.Time, []string, []ending) {
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.hub.takeTurns(&x.turns, row) // after a panic, too: nobody else writes to them
	out := decide(x.tenant, x.out[:0])
	for i := 0; i < len(out); i++ { // it grows when a member turns out to be too slow
		out = x.deliver(now, out[i], out)
	}
	clear(out)
	x.out = out[:0]
	revoke, ended := x.revoke, x.ended
	x.revoke, x.ended = nil, nil
	return x.tenant.Due(), revoke, ended
}

// end ends a session, to be logged later.
func (x *tenancy) end(s *Session, code int, reason string, cut bool) {
	if s.close(code, reason, cut) {
		x.ended = append(x.ended, ending{s, code, reason})
	}
}

// deliver carries out one delivery and appends what follows from it.
func (x *tenancy) deliver(now time.Time, d Delivery, out []Delivery) []Delivery {
	s := d.To.session
	if s == nil {
		return out
	}
	if e := d.Event; e != nil {
		if d.Effect == EffectMint {
			e.ICE, e.TTL = x.open(now, s)
		}
		if e.Type == TypeError {
			x.hub.metrics.refused.WithLabelValues(e.Code).Inc()
		}
		if x.tenant.Name == native {
			e.JSON() // a writer's stack is too small for that, and would grow each time
		}
		if e.born == 0 { // else others have it already
			e.born, e.weight = now.UnixNano(), int32(e.size())
		}
		verdict := s.pushFor(e, true, true, &x.turns)
		if verdict == pushHogs {
			if sender := x.tenant.members[e.From]; sender != nil {
				return append(out, Delivery{To: sender, Event: &Event{
					Type: TypeError, Code: CodeRate, To: d.To.ID, Message: "most of what waits for this peer is yours already",
				}})
			}
			verdict = s.pushFor(e, true, false, &x.turns)
		}
		if verdict == pushFull {
			x.hub.metrics.overfull.Inc()
			x.end(s, CloseSlow, "too slow", true)
			return x.tenant.Remove(d.To, ReasonSlow, false, out)
		}
	}
	switch d.Effect {
	case EffectRevoke:
		if user := s.purse.close(d.To.ID); user != "" {
			x.revoke = append(x.revoke, user)
		}
	case EffectEnd:
		x.end(s, d.Close, "", false)
	}
	return out
}

// open returns the session's credentials; the caller holds the lock.
func (x *tenancy) open(now time.Time, s *Session) (*ICEServers, int) {
	before := s.purse.minted
	servers, ttl := s.purse.open(now, x.hub.o.ICE, s.member.ID)
	if s.purse.minted != before {
		x.hub.metrics.minted.Inc()
		x.hub.agenda.sooner(&s.slot, s.purse.due())
	}
	return servers, ttl
}

// due ends waiting signals and the seats of those who did not come back.
func (x *tenancy) due(now time.Time) time.Time {
	var nobody *Session
	defer x.hub.guard(&nobody)
	due, _ := x.decide(nil, now, func(t *Tenant, out []Delivery) []Delivery { return t.Tick(now, out) })
	return due
}
