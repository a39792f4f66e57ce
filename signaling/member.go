package signaling

import (
	"encoding/json"
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

	serial  uint64    // order of arrival, for politeness
	gone    bool      // removed from the tenant
	away    time.Time // until when it may come back; zero = it is here
	refused int       // joins answered by forbidden
	seats   []*Seat
	held    int // its waiting signals

	session *Session // the shell's; the core never looks at it
}

// Seat is a member's place in one room.
type Seat struct {
	Member *Member
	Room   *Room
	Role   string
	Data   json.RawMessage
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
