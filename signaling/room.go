package signaling

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Room holds seats in the order of arrival. It is part of its tenant, under the
// same lock, and pure like it.
type Room struct {
	Name  string
	limit int // members
	seats []*Seat
}

// Delivery is one thing to be done for one member: an event to hand over, an
// effect on its session, or both (the event first).
type Delivery struct {
	To     *Member
	Event  *Event
	Effect Effect
	Close  int // close code of EffectEnd
}

// Effect is what a delivery means for the session of the member.
type Effect uint8

const (
	EffectNone   Effect = iota
	EffectMint          // the event wants fresh credentials
	EffectRevoke        // credentials stop working, allocations end
	EffectEnd           // the member is gone: close with the code
)

func (r *Room) peersOf(m *Member) []PeerView {
	peers := make([]PeerView, 0, max(0, min(len(r.seats)-1, 64)))
	for _, s := range r.seats {
		if s.Member != m && !s.quiet {
			peers = append(peers, s.view(m))
		}
	}
	return peers
}

// tell appends e, which is about the one in seat, for everyone else, in the order of
// seats. Nobody hears about a quiet one.
func (r *Room) tell(e *Event, about *Seat, out []Delivery) []Delivery {
	for _, s := range r.seats {
		if s != about && !about.quiet {
			out = append(out, Delivery{To: s.Member, Event: e})
		}
	}
	return out
}

// presence is a peer event about the one in seat.
func (s *Seat) presence(name, reason string) *Event {
	e := &Event{
		Type: TypePeer, Room: s.Room.Name, Name: name, Reason: reason,
		Peer: s.Member.ID, User: s.Member.User, Role: s.Role,
	}
	if name == EventJoin || name == EventUpdate {
		e.Data = s.Data
	}
	return e
}

// sit gives m a seat and tells the others, unless it is a quiet one.
func (r *Room) sit(m *Member, msg *Message, data json.RawMessage, out []Delivery) (*Seat, []Delivery) {
	seat := &Seat{Member: m, Room: r, Role: msg.Role, Data: data, quiet: msg.Quiet}
	out = r.present(seat, out)
	r.seats = append(r.seats, seat)
	m.seats = append(m.seats, seat)
	return seat, out
}

// present tells the others that somebody has come. They hear who yields to whom, so
// there are at most two different events, however many hear it.
func (r *Room) present(seat *Seat, out []Delivery) []Delivery {
	if seat.quiet {
		return out
	}
	var events [2]*Event
	for _, s := range r.seats {
		if s == seat {
			continue
		}
		p := politeTo(s.Member, seat.Member)
		i := 0
		if p == Yields {
			i = 1
		}
		if events[i] == nil {
			events[i] = seat.presence(EventJoin, "")
			events[i].Polite = p
		}
		out = append(out, Delivery{To: s.Member, Event: events[i]})
	}
	return out
}

// appear ends the quiet of a seat.
func (r *Room) appear(seat *Seat, msg *Message, out []Delivery) []Delivery {
	seat.quiet = false
	if msg.Role != "" {
		seat.Role = msg.Role
	}
	if msg.Data != nil {
		seat.Data = msg.Data
	}
	return r.present(seat, out)
}

// rise takes the seat away and tells those who stay; when others put the member
// out, it hears that itself.
func (r *Room) rise(seat *Seat, reason string, out []Delivery) []Delivery {
	e := seat.presence(EventLeave, reason)
	m := seat.Member
	heard := reason == ReasonKicked || reason == ReasonBanned || reason == ReasonReplaced
	for _, s := range r.seats {
		if s != seat && !seat.quiet || s == seat && heard {
			out = append(out, Delivery{To: s.Member, Event: e})
		}
	}
	r.seats = remove(r.seats, seat)
	m.seats = remove(m.seats, seat)
	return out
}

// change replaces role and data where given, and tells the others if that made a
// difference.
func (r *Room) change(seat *Seat, role string, data json.RawMessage, out []Delivery) []Delivery {
	if (role == "" || role == seat.Role) && (data == nil || bytes.Equal(data, seat.Data)) {
		return out
	}
	if role != "" {
		seat.Role = role
	}
	if data != nil {
		seat.Data = data
	}
	return r.tell(seat.presence(EventUpdate, ""), seat, out)
}

// Apply carries a message or signal of from to the others in the room, or to
// those with the role, and says how many they are.
func (r *Room) Apply(from *Member, role string, e *Event, out []Delivery) (int, []Delivery) {
	n := 0
	for _, s := range r.seats {
		if s.Member != from && (role == "" || s.Role == role) {
			out = append(out, Delivery{To: s.Member, Event: e})
			n++
		}
	}
	return n, out
}

// rivals returns those who hold role and are not m.
func (r *Room) rivals(role string, m *Member) []*Seat {
	var held []*Seat
	for _, s := range r.seats {
		if s.Role == role && s.Member != m {
			held = append(held, s)
		}
	}
	return held
}

// remove deletes v from s, keeps the order, and lets go of an empty slice.
func remove[T comparable](s []T, v T) []T {
	i := slices.Index(s, v)
	if i < 0 {
		return s
	}
	if len(s) == 1 {
		return nil
	}
	return slices.Delete(s, i, i+1)
}
