package signaling

import (
	"encoding/json"
	"slices"
	"time"
)

// Perms is what a member may do beyond being there.
type Perms uint8

const (
	PermSignal  Perms = 1 << iota // send signals
	PermMessage                   // send messages
	PermReplace                   // take a role from whoever holds it
	PermKick                      // put others out of a room

	permsDefault = PermSignal | PermMessage
	permsOpen    = permsDefault | PermReplace
)

var permNames = map[string]Perms{
	"signal": PermSignal, "message": PermMessage, "replace": PermReplace, "kick": PermKick,
}

// ParsePerms turns the names in a token into Perms. Unknown names grant nothing; no
// name at all grants signal and message.
func ParsePerms(names []string) Perms {
	if len(names) == 0 {
		return permsDefault
	}
	var p Perms
	for _, name := range names {
		p |= permNames[name]
	}
	return p
}

// Member is a participant of a tenant: what is known of it, and its seats. It
// belongs to the tenant and is guarded by the tenant's lock.
type Member struct {
	ID       string
	User     string // "" for the nameless
	Identity string // whom a ban means: token subject, token name or address
	Perms    Perms
	Opens    string    // the one room that its token opens; "" = any
	Expires  time.Time // when its token stops opening rooms; zero = never
	Data     json.RawMessage

	owned    string    // the name that its token gives; "" = any
	serial   uint64    // order of arrival, for politeness
	gone     bool      // removed from the tenant
	away     time.Time // until when it may come back; zero = it is here
	refused  int       // joins answered by forbidden
	seats    []*Seat
	held     int       // its waiting signals
	partners []*Member // met without a common room, the youngest last

	session *Session // the shell's; the core never looks at it
}

// maxPartners is how many of those met without a common room are remembered.
const maxPartners = 64

// meet makes two members hear of each other's end, unless a room will tell them.
func (m *Member) meet(other *Member) {
	if m == other || m.sharesRoom(other) || slices.Contains(m.partners, other) {
		return
	}
	for _, x := range []*Member{m, other} {
		if len(x.partners) == maxPartners {
			x.unmeet(x.partners[0])
		}
	}
	m.partners = append(m.partners, other)
	other.partners = append(other.partners, m)
}

func (m *Member) unmeet(other *Member) {
	m.partners = remove(m.partners, other)
	other.partners = remove(other.partners, m)
}

// part tells all partners that m leaves, and forgets them.
func (m *Member) part(reason string, out []Delivery) []Delivery {
	if len(m.partners) == 0 {
		return out
	}
	e := &Event{Type: TypePeer, Name: EventLeave, Peer: m.ID, User: m.User, Reason: reason}
	for len(m.partners) > 0 {
		out = append(out, Delivery{To: m.partners[0], Event: e})
		m.unmeet(m.partners[0])
	}
	return out
}

// Seat is a member's place in one room.
type Seat struct {
	Member *Member
	Room   *Room
	Role   string
	Data   json.RawMessage
	quiet  bool // see Message.Quiet
}

func (m *Member) seatIn(room string) *Seat {
	for _, s := range m.seats {
		if s.Room.Name == room {
			return s
		}
	}
	return nil
}

// sharesRoom says whether the two meet anywhere.
func (m *Member) sharesRoom(other *Member) bool {
	for _, s := range m.seats {
		for _, o := range other.seats {
			if s.Room == o.Room {
				return true
			}
		}
	}
	return false
}

// view is how viewer sees the one who sits here.
func (s *Seat) view(viewer *Member) PeerView {
	m := s.Member
	return PeerView{
		Peer: m.ID, User: m.User, Role: s.Role, Data: s.Data,
		Away: !m.away.IsZero(), Polite: politeTo(viewer, m),
	}
}

// rooms lists where m sits; with the peers there, or only by name.
func (m *Member) rooms(peers bool) []RoomView {
	views := make([]RoomView, 0, len(m.seats))
	for _, s := range m.seats {
		v := RoomView{Room: s.Room.Name, Role: s.Role}
		if peers {
			v.Peers = s.Room.peersOf(m)
		}
		views = append(views, v)
	}
	return views
}
