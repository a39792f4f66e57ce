package signaling

import (
	"slices"
	"strings"
	"time"
)

const (
	heldPerMember = 16
	heldPerTenant = 1024
	maxRefused    = 10 // joins answered by forbidden before the session ends
)

// Rules are the limits that the core applies.
type Rules struct {
	Members  int           // in a room
	Rooms    int           // of a session
	Presence int           // bytes of presence data
	Keep     time.Duration // how long an absent member keeps its place
	Open     bool          // anyone in the tenant can be reached directly
}

// Tenant is a world of its own: names, members, rooms and the signals that wait
// for somebody. It is pure: the time is an argument, and what is to be done comes
// back as deliveries, appended to out in the order in which each member must get
// them. One lock, the caller's, guards it and all its members and rooms.
type Tenant struct {
	Name    string
	rules   Rules
	members map[string]*Member
	users   map[string][]*Member
	rooms   map[string]*Room
	held    []*held
	away    []*Member // in the order in which they run out; stale entries are skipped
	bans    map[ban]time.Time
	serial  uint64
}

// held is a signal that waits for somebody who fits.
type held struct {
	from  *Member
	msg   Message
	until time.Time
}

// ban keeps an identity out of a room.
type ban struct{ room, identity string }

// NewTenant returns an empty tenant.
func NewTenant(name string, rules Rules) *Tenant {
	return &Tenant{
		Name: name, rules: rules,
		members: map[string]*Member{}, users: map[string][]*Member{},
		rooms: map[string]*Room{}, bans: map[ban]time.Time{},
	}
}

// Enter admits m, in no room yet. Exclusive refuses a user name that is in use.
func (t *Tenant) Enter(m *Member, exclusive bool) *Error {
	if len(m.Data) > t.rules.Presence {
		return refuse(CodeTooBig, "presence is limited to %d bytes", t.rules.Presence)
	}
	if exclusive && m.User != "" && len(t.users[m.User]) > 0 {
		return refuse(CodeTaken, "the name %q is in use", m.User)
	}
	t.serial++
	m.serial = t.serial
	t.members[m.ID] = m
	t.list(m)
	return nil
}

// Apply carries out one message of from and answers it. Hello, ping and ice are the
// session's own business and never come here.
func (t *Tenant) Apply(now time.Time, from *Member, m *Message, out []Delivery) []Delivery {
	if from.gone {
		return out
	}
	var err *Error
	n := 0
	switch m.Type {
	case TypeJoin:
		out, err = t.join(now, from, m, out)
		if err == nil {
			return t.retry(out)
		}
	case TypeLeave:
		n, out, err = t.leave(now, from, m, out)
	case TypeSignal:
		return t.signal(now, from, m, out)
	case TypeMessage:
		n, out, err = t.message(from, m, out)
	case TypeUpdate:
		out, err = t.update(from, m, out)
		if err == nil && m.Role != "" {
			out = t.retry(out)
		}
	case TypeBye:
		out = t.answer(from, m, 0, nil, out)
		out = t.Remove(from, ReasonLeft, true, out)
		return append(out, Delivery{To: from, Effect: EffectEnd, Close: CloseNormal})
	}
	out = t.answer(from, m, n, err, out)
	if err != nil && err.Code == CodeForbidden && m.Type == TypeJoin {
		out = t.countRefused(from, out)
	}
	return out
}

// answer is an error, or ok if the message had an id.
func (t *Tenant) answer(from *Member, m *Message, n int, err *Error, out []Delivery) []Delivery {
	switch {
	case err != nil:
		return append(out, Delivery{To: from, Event: errorEvent(m, err)})
	case m.ID != nil:
		return append(out, Delivery{To: from, Event: &Event{Type: TypeOK, Re: m.ID, N: n}})
	}
	return out
}

func errorEvent(m *Message, err *Error) *Event {
	e := &Event{Type: TypeError, Re: m.ID, Code: err.Code, Message: err.Message}
	if err.Code == CodeAbsent || err.Code == CodeExpired {
		e.To, e.Conn = m.To, m.Conn
	}
	return e
}

// countRefused ends a session that goes on guessing rooms.
func (t *Tenant) countRefused(m *Member, out []Delivery) []Delivery {
	if m.refused++; m.refused < maxRefused {
		return out
	}
	out = t.Remove(m, ReasonLimits, false, out)
	return append(out, Delivery{To: m, Effect: EffectEnd, Close: CloseForbidden})
}

// admit says whether m may join room. One who may not learns nothing about the
// room, so nothing about the room is looked at before.
func (t *Tenant) admit(now time.Time, m *Member, room string) *Error {
	if !m.Expires.IsZero() && !now.Before(m.Expires) {
		return refuse(CodeUnauthorized, "the token has expired")
	}
	if m.Opens != "" && m.Opens != room || t.banned(now, room, m.Identity) {
		return refuse(CodeForbidden, "this token does not open the room")
	}
	return nil
}

func (t *Tenant) join(now time.Time, m *Member, msg *Message, out []Delivery) ([]Delivery, *Error) {
	if err := t.admit(now, m, msg.Room); err != nil {
		return out, err
	}
	if len(msg.Data) > t.rules.Presence {
		return out, refuse(CodeTooBig, "presence is limited to %d bytes", t.rules.Presence)
	}
	room, seat := t.rooms[msg.Room], m.seatIn(msg.Room)
	var rivals []*Seat
	if room != nil && msg.Replace {
		rivals = room.rivals(msg.Role, m)
		for _, s := range rivals {
			if m.Perms&PermReplace == 0 && (m.User == "" || s.Member.User != m.User) {
				return out, refuse(CodeTaken, "the role %q is somebody else's", msg.Role)
			}
		}
	}
	if seat == nil {
		if len(m.seats) >= t.rules.Rooms {
			return out, refuse(CodeLimit, "a session can be in %d rooms", t.rules.Rooms)
		}
		if room != nil && len(room.seats)-len(rivals) >= room.limit {
			return out, refuse(CodeRoomFull, "room %q: full (%d members)", room.Name, room.limit)
		}
	}
	if room == nil {
		room = t.open(msg)
	}
	for _, s := range rivals {
		out = t.putOut(s, ReasonReplaced, out)
	}
	switch {
	case seat != nil && seat.quiet && !msg.Quiet:
		out = room.appear(seat, msg, out)
	case seat != nil:
		out = room.change(seat, msg.Role, msg.Data, out)
	default:
		data := msg.Data
		if data == nil {
			data = m.Data
		}
		t.rooms[room.Name] = room // putting rivals out may have ended it
		seat, out = room.sit(m, msg, data, out)
	}
	d := Delivery{To: m, Event: &Event{
		Type: TypeJoined, Re: msg.ID, Room: room.Name, Role: seat.Role, Peers: room.peersOf(m),
	}}
	if len(m.seats) == 1 {
		d.Effect = EffectMint
	}
	return append(out, d), nil
}

// open makes the room that msg asks for.
func (t *Tenant) open(msg *Message) *Room {
	room := &Room{Name: msg.Room, limit: t.rules.Members}
	if msg.Limit > 0 {
		room.limit = min(msg.Limit, room.limit)
	}
	t.rooms[room.Name] = room
	return room
}

// vacate takes a seat away, and the room with it when it was the last.
func (t *Tenant) vacate(seat *Seat, reason string, out []Delivery) []Delivery {
	out = seat.Room.rise(seat, reason, out)
	if len(seat.Room.seats) == 0 && t.rooms[seat.Room.Name] == seat.Room {
		delete(t.rooms, seat.Room.Name)
	}
	return out
}

// putOut vacates a seat on purpose: with the last one the credentials go.
func (t *Tenant) putOut(seat *Seat, reason string, out []Delivery) []Delivery {
	out = t.vacate(seat, reason, out)
	if len(seat.Member.seats) == 0 {
		out = append(out, Delivery{To: seat.Member, Effect: EffectRevoke})
	}
	return out
}

// leave gives up a seat: one's own or, for moderators, another's.
func (t *Tenant) leave(now time.Time, m *Member, msg *Message, out []Delivery) (int, []Delivery, *Error) {
	seat := m.seatIn(msg.Room)
	if seat == nil {
		return 0, out, refuse(CodeNoRoom, "not in this room")
	}
	if msg.Peer == "" || msg.Peer == m.ID {
		return 1, t.putOut(seat, ReasonLeft, out), nil
	}
	if m.Perms&PermKick == 0 {
		return 0, out, refuse(CodeForbidden, "putting others out needs the permission kick")
	}
	reason := ReasonKicked
	other := t.members[msg.Peer]
	if other == nil || other.seatIn(msg.Room) == nil {
		return 0, out, refuse(CodeAbsent, "no such peer in this room")
	}
	if msg.Ban > 0 {
		reason = ReasonBanned
		t.bans[ban{msg.Room, other.Identity}] = now.Add(time.Duration(msg.Ban) * time.Second)
	}
	return 1, t.putOut(other.seatIn(msg.Room), reason, out), nil
}

func (t *Tenant) update(m *Member, msg *Message, out []Delivery) ([]Delivery, *Error) {
	if len(msg.Data) > t.rules.Presence {
		return out, refuse(CodeTooBig, "presence is limited to %d bytes", t.rules.Presence)
	}
	if msg.Room != "" {
		seat := m.seatIn(msg.Room)
		if seat == nil {
			return out, refuse(CodeNoRoom, "not in this room")
		}
		return seat.Room.change(seat, msg.Role, msg.Data, out), nil
	}
	if msg.Data != nil {
		m.Data = msg.Data
	}
	for _, seat := range m.seats {
		out = seat.Room.change(seat, "", msg.Data, out)
	}
	return out, nil
}

func (t *Tenant) message(m *Member, msg *Message, out []Delivery) (int, []Delivery, *Error) {
	if m.Perms&PermMessage == 0 {
		return 0, out, refuse(CodeForbidden, "messages need the permission message")
	}
	e := &Event{Type: TypeMessage, From: m.ID, User: m.User, Name: msg.Event, Data: msg.Data}
	n, out, err := t.carry(m, msg.To, e, out)
	if err == nil && msg.Echo {
		out = append(out, Delivery{To: m, Event: e})
	}
	return n, out, err
}

func (t *Tenant) signal(now time.Time, m *Member, msg *Message, out []Delivery) []Delivery {
	if m.Perms&PermSignal == 0 {
		return t.answer(m, msg, 0, refuse(CodeForbidden, "signals need the permission signal"), out)
	}
	n, out, err := t.carry(m, msg.To, signalEvent(m, msg), out)
	nobody := err != nil && err.Code == CodeAbsent || err == nil && n == 0
	if msg.Wait == 0 || !nobody {
		return t.answer(m, msg, n, err, out)
	}
	if m.held >= heldPerMember || len(t.held) >= heldPerTenant {
		return t.answer(m, msg, 0, refuse(CodeLimit, "too many signals are waiting"), out)
	}
	m.held++
	until := now.Add(time.Duration(msg.Wait) * time.Millisecond)
	t.held = append(t.held, &held{from: m, msg: *msg, until: until})
	return out
}

func signalEvent(m *Member, msg *Message) *Event {
	return &Event{Type: TypeSignal, From: m.ID, User: m.User, Kind: msg.Kind, Conn: msg.Conn, Data: msg.Data}
}

// carry finds those who fit to and appends e for them; e.Room is set when a room
// was addressed.
func (t *Tenant) carry(from *Member, to string, e *Event, out []Delivery) (int, []Delivery, *Error) {
	n := 0
	switch {
	case strings.HasPrefix(to, "#"):
		seat, role := from.seatIn(to[1:]), ""
		if seat == nil {
			var room string
			room, role, _ = cutLast(to[1:])
			seat = from.seatIn(room)
		}
		if seat == nil || role == "" && seat.Room.Name != to[1:] {
			return 0, out, refuse(CodeNoRoom, "not in this room")
		}
		e.Room = seat.Room.Name
		if n, out = seat.Room.Apply(from, role, e, out); n > 0 || role == "" {
			return n, out, nil
		}
	case strings.HasPrefix(to, "@"):
		for _, m := range t.users[to[1:]] {
			if m != from && t.reaches(from, m) {
				out = append(out, Delivery{To: m, Event: e})
				from.meet(m)
				n++
			}
		}
	default:
		if m := t.members[to]; m != nil && t.reaches(from, m) {
			out = append(out, Delivery{To: m, Event: e})
			from.meet(m)
			n++
		}
	}
	if n == 0 {
		return 0, out, refuse(CodeAbsent, "nobody fits %s", to)
	}
	return n, out, nil
}

func (t *Tenant) reaches(from, to *Member) bool {
	return t.rules.Open || from == to || from.sharesRoom(to)
}

// serves says whether m gets credentials: who can be reached by somebody does.
func (t *Tenant) serves(m *Member) bool { return !m.gone && (t.rules.Open || len(m.seats) > 0) }

// Rename gives m another name, which the rooms hear as one who leaves and one who
// comes. Exclusive refuses a name that somebody else has.
func (t *Tenant) Rename(m *Member, user string, exclusive bool, out []Delivery) ([]Delivery, *Error) {
	switch {
	case m.gone:
		return out, refuse(CodeAbsent, "the member has left")
	case m.User == user:
		return out, nil
	case m.owned != "" && m.owned != user:
		return out, refuse(CodeForbidden, "the token is for another name")
	case exclusive && user != "" && len(t.users[user]) > 0:
		return out, refuse(CodeTaken, "the name %q is in use", user)
	}
	out = m.part(ReasonLeft, out)
	for _, s := range m.seats {
		out = s.Room.tell(s.presence(EventLeave, ReasonLeft), s, out)
	}
	t.unlist(m)
	m.User = user
	t.list(m)
	for _, s := range m.seats {
		out = s.Room.present(s, out)
	}
	return t.retry(out), nil
}

// list makes m known by its name.
func (t *Tenant) list(m *Member) {
	if m.User != "" {
		t.users[m.User] = append(t.users[m.User], m)
	}
}

func (t *Tenant) unlist(m *Member) {
	if t.users[m.User] = remove(t.users[m.User], m); len(t.users[m.User]) == 0 {
		delete(t.users, m.User)
	}
}

// retry delivers the held signals that somebody fits now.
func (t *Tenant) retry(out []Delivery) []Delivery {
	if len(t.held) == 0 {
		return out
	}
	t.held = slices.DeleteFunc(t.held, func(h *held) bool {
		var n int
		var err *Error
		n, out, err = t.carry(h.from, h.msg.To, signalEvent(h.from, &h.msg), out)
		if err != nil || n == 0 {
			return false
		}
		h.from.held--
		out = t.answer(h.from, &h.msg, n, nil, out)
		return true
	})
	return out
}

// Away marks a member whose socket is lost. It keeps its seats until it comes
// Back or the time is over.
func (t *Tenant) Away(now time.Time, m *Member, out []Delivery) []Delivery {
	if m.gone || !m.away.IsZero() {
		return out
	}
	m.away = now.Add(t.rules.Keep)
	t.away = append(t.away, m)
	return m.announce(EventAway, out)
}

// Back takes Away back.
func (t *Tenant) Back(m *Member, out []Delivery) []Delivery {
	if m.gone || m.away.IsZero() {
		return out
	}
	m.away = time.Time{}
	t.away = remove(t.away, m)
	return m.announce(EventBack, out)
}

func (m *Member) announce(event string, out []Delivery) []Delivery {
	for _, s := range m.seats {
		out = s.Room.tell(s.presence(event, ""), s, out)
	}
	return out
}

// Remove takes m out of everything. Revoke says that it was on purpose, so that
// its credentials go too.
func (t *Tenant) Remove(m *Member, reason string, revoke bool, out []Delivery) []Delivery {
	if m.gone {
		return out
	}
	revoke = revoke && t.serves(m)
	for len(m.seats) > 0 {
		out = t.vacate(m.seats[0], reason, out)
	}
	out = m.part(reason, out)
	m.gone = true
	delete(t.members, m.ID)
	t.unlist(m)
	if !m.away.IsZero() {
		t.away = remove(t.away, m)
	}
	if m.held > 0 {
		t.held = slices.DeleteFunc(t.held, func(h *held) bool { return h.from == m })
	}
	if revoke {
		out = append(out, Delivery{To: m, Effect: EffectRevoke})
	}
	return out
}

func (t *Tenant) banned(now time.Time, room, identity string) bool {
	until, found := t.bans[ban{room, identity}]
	return found && now.Before(until)
}

// Tick ends what has run out by now.
func (t *Tenant) Tick(now time.Time, out []Delivery) []Delivery {
	for len(t.away) > 0 && !now.Before(t.away[0].away) {
		m := t.away[0]
		out = t.Remove(m, ReasonLost, false, out)
		out = append(out, Delivery{To: m, Effect: EffectEnd, Close: CloseExpired})
	}
	t.held = slices.DeleteFunc(t.held, func(h *held) bool {
		if now.Before(h.until) {
			return false
		}
		h.from.held--
		err := refuse(CodeExpired, "nobody fitted %s in time", h.msg.To)
		out = t.answer(h.from, &h.msg, 0, err, out)
		return true
	})
	for b, until := range t.bans {
		if !now.Before(until) {
			delete(t.bans, b)
		}
	}
	return out
}

// Due is when Tick has something to do; zero means never.
func (t *Tenant) Due() time.Time {
	var due time.Time
	if len(t.away) > 0 {
		due = t.away[0].away
	}
	for _, h := range t.held {
		if due.IsZero() || h.until.Before(due) {
			due = h.until
		}
	}
	return due
}
