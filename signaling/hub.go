package signaling

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/text/unicode/norm"

	"rtcd/creds"
)

// native is the tenant in which the native protocol lives. Dialects have others.
const native = ""

// subjectKick is the bus subject on which every node hears whom to put out.
const subjectKick = "hub.kick"

// Hub brings members together. Make one with New, run it with Run, serve it with
// ServeHTTP.
type Hub struct {
	o       Options
	log     *slog.Logger
	metrics *metrics
	agenda  *agenda
	resumer resumer
	wg      sync.WaitGroup // readers and writers of sockets
	lot     lot
	going   chan struct{} // closed when the hub drains

	origins    atomic.Pointer[[]string] // see SetOrigins
	members    atomic.Int64             // see SetMembers
	stripHosts atomic.Bool              // see SetStripHostCandidates

	mu       sync.Mutex // guards the following
	draining bool
	retry    time.Duration
	sessions map[string]*Session // by peer id
	tenants  map[string]*tenancy
	sockets  map[*socket]struct{} // that said no hello yet
	bans     map[string]time.Time // by identity
	callers  callers
}

// New returns a hub, or an error when the options leave open who may come in.
func New(o Options) (*Hub, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	h := &Hub{
		o: o, log: o.Log, metrics: newMetrics(o.Metrics), agenda: newAgenda(),
		resumer: newResumer(o.Key), going: make(chan struct{}),
		sessions: map[string]*Session{}, tenants: map[string]*tenancy{}, sockets: map[*socket]struct{}{},
		bans: map[string]time.Time{},
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "rtcd_signaling_rooms", Help: "Rooms with somebody in them, of all protocols.",
		}, func() float64 { return float64(h.roomCount()) }))
	}
	h.SetOrigins(o.Origins)
	h.SetMembers(o.Limits.Members)
	h.SetStripHostCandidates(o.StripHostCandidates)
	return h, nil
}

// Run keeps the hub's time until ctx is done, then closes what is open and returns
// when all its goroutines have.
func (h *Hub) Run(ctx context.Context) error {
	cancel, err := h.o.Bus.Subscribe(subjectKick, h.onKick)
	if err != nil {
		return err
	}
	defer cancel()
	h.agenda.run(ctx)
	h.Drain(0)
	h.wg.Wait()
	h.lot.close()
	return nil
}

// Drain says goodbye to everyone and lets nobody in any more. Clients are told to
// come back between retry and twice retry, each at another time. Credentials and
// allocations live on.
func (h *Hub) Drain(retry time.Duration) {
	h.mu.Lock()
	if !h.draining {
		close(h.going)
	}
	h.draining = true
	h.retry = retry
	sessions := make([]*Session, 0, len(h.sessions))
	for _, s := range h.sessions {
		sessions = append(sessions, s)
	}
	sockets := make([]*socket, 0, len(h.sockets))
	for c := range h.sockets {
		sockets = append(sockets, c)
	}
	h.mu.Unlock()
	for _, s := range sessions { // all of them first, so that nobody hears the others leave
		wait := retry
		if retry > 0 {
			wait += rand.N(retry)
		}
		s.push(&Event{Type: TypeGoing, Retry: wait.Milliseconds()}, false)
		s.finish(CloseGoing, "going", false)
	}
	for _, s := range sessions {
		s.expel(ReasonLeft, CloseGoing, "going", false, false)
	}
	for _, c := range sockets {
		c.Close(CloseGoing, "going")
	}
}

// Hello is how a member comes in.
type Hello struct {
	Dialect   string // what the member speaks, one of a few words; "" is the native protocol
	Tenant    string // "" is the native protocol's; dialects have their own
	Direct    bool   // the tenant's members reach each other without a common room
	Crowd     bool   // the tenant's rooms hold any number of members
	User      string
	Nameless  bool // for now, whatever the token says; see Session.Rename
	Exclusive bool // refuse the user name if somebody has it
	Data      json.RawMessage
	Address   string // of the client, for bans

	// Claims is what the client's token says; see Authorize.
	Claims creds.Claims

	// Join is the room to enter at once, if its Room is not "".
	Join Message
}

// Authorize checks a join token. Under `auth: none` everybody is admitted, and a
// token that is worth nothing says nothing.
func (h *Hub) Authorize(token string, now time.Time) (creds.Claims, *Error) {
	if token != "" && h.o.Auth != nil {
		claims, err := h.o.Auth.Verify(token, now)
		if err == nil {
			return claims, nil
		}
		if !h.o.Open {
			return creds.Claims{}, refuse(CodeUnauthorized, "the token is not valid")
		}
	}
	if h.o.Open {
		return creds.Claims{}, nil
	}
	return creds.Claims{}, refuse(CodeUnauthorized, "a token is needed")
}

// Open admits a member whose events go to t, the welcome first. The error is an
// *Error.
func (h *Hub) Open(hello Hello, t Transport) (*Session, error) {
	s, _, err := h.open(hello, t)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// open is Open; it also returns the link on which the session began.
func (h *Hub) open(hello Hello, t Transport) (*Session, *link, *Error) {
	now := time.Now()
	s, err := h.admit(now, &hello, t)
	if err != nil {
		return nil, nil, err
	}
	panics := true
	defer func() {
		if panics { // then nobody else knows of the session
			s.expel(ReasonLimits, CloseInternal, "internal error", false, true)
		}
	}()
	first, in := s.link, s.in
	welcome := h.welcome(s, s.generation, false)
	welcome.Re = hello.Join.ID
	in.do(now, func(t *Tenant, out []Delivery) []Delivery {
		if err = t.Enter(s.member, hello.Exclusive); err != nil {
			return out
		}
		if hello.Join.Room != "" {
			before := len(out)
			if out, err = t.join(now, s.member, &hello.Join, out); err != nil {
				return t.Remove(s.member, ReasonLeft, false, out[:before])
			}
			out = t.retry(out[:len(out)-1]) // the welcome says what joined would
			welcome.ICE, welcome.TTL = in.open(now, s)
		}
		welcome.Welcome.Rooms = s.member.rooms(true)
		return out
	})
	panics = false
	if err != nil {
		s.abandon()
		return nil, nil, err
	}
	s.log("session opened", "event", "session_opened", "member", s.member.ID, "name", s.member.User,
		"tenant", hello.Tenant, "dialect", cmp.Or(hello.Dialect, "native"), "client", hello.Address)
	if room := hello.Join.Room; room != "" {
		s.logRoom("joined", room)
	}
	h.agenda.sooner(&s.slot, now.Add(h.o.PingEvery))
	s.start(first, welcome)
	return s, first, nil
}

// admit puts a new session on the hub's books, unless the hub is draining or the
// client banned.
func (h *Hub) admit(now time.Time, hello *Hello, t Transport) (*Session, *Error) {
	m := h.member(hello)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.draining {
		return nil, refuse(CodeInternal, "the server is going down")
	}
	if until, found := h.bans[m.Identity]; found && now.Before(until) {
		return nil, refuse(CodeForbidden, "banned")
	}
	key := callerOf(hello.Address)
	if err := h.checkRoomLocked(key); err != nil {
		h.callers.settle(key)
		return nil, err
	}
	in := h.tenants[hello.Tenant]
	if in == nil {
		in = newTenancy(h, hello)
		h.tenants[hello.Tenant] = in
	}
	in.sessions++
	s := newSession(h, in, m, t, now)
	s.counted, s.caller = h.metrics.sessionsOf(hello.Dialect), key
	h.callers.of(key).sessions++
	h.sessions[m.ID] = s
	s.counted.Inc()
	return s, nil
}

// forget takes a session off the books. A tenant goes with its last session, but
// for the native one, which remembers who is banned from its rooms.
func (h *Hub) forget(s *Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.member.ID] != s {
		return
	}
	delete(h.sessions, s.member.ID)
	s.counted.Dec()
	h.callers.of(s.caller).sessions--
	h.callers.settle(s.caller)
	if s.in.sessions--; s.in.sessions == 0 && s.in.tenant.Name != native {
		delete(h.tenants, s.in.tenant.Name)
		h.agenda.set(&s.in.slot, time.Time{})
	}
}

// abandon forgets a session that never began. Its transport stays the caller's.
func (s *Session) abandon() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.hub.forget(s)
	s.hub.agenda.set(&s.slot, time.Time{})
}

// member makes the member that hello describes. A name in the token wins.
func (h *Hub) member(hello *Hello) *Member {
	c := &hello.Claims
	m := &Member{
		ID: newPeerID(), User: hello.User, Data: hello.Data,
		Opens: norm.NFC.String(c.Room), Expires: c.Expires, Perms: ParsePerms(c.Perms),
		Identity: "address " + hello.Address,
	}
	if h.o.Open && c.Expires.IsZero() {
		m.Perms = permsOpen
	}
	if name := norm.NFC.String(c.Name); name != "" {
		m.User, m.owned = name, name
		m.Identity = "name " + name
	}
	if hello.Nameless {
		m.User = ""
	}
	if c.Subject != "" {
		m.Identity = "subject " + c.Subject
	}
	return m
}

// welcome is the answer to a hello, but for rooms, credentials and count.
func (h *Hub) welcome(s *Session, generation uint64, resumed bool) *Event {
	return &Event{
		Type: TypeWelcome, Peer: s.member.ID, User: s.member.User,
		Welcome: &Welcome{
			Server: h.o.Server, Keep: int(h.o.Keep / time.Second), Resumed: resumed, Limits: h.limits(),
			Resume: h.resumer.sign(s.member.ID, generation),
		},
	}
}

// Whereabouts is where a member of this node is.
type Whereabouts struct {
	Tenant, User string
	Rooms        []string
}

// Whereabouts tells where a member is; ok is false for one that this node does not know.
func (h *Hub) Whereabouts(peer string) (w Whereabouts, ok bool) {
	s := h.session(peer)
	if s == nil {
		return w, false
	}
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	w = Whereabouts{Tenant: s.in.tenant.Name, User: s.member.User}
	for _, seat := range s.member.seats {
		w.Rooms = append(w.Rooms, seat.Room.Name)
	}
	return w, true
}

// Kick puts a member out, wherever in the cluster it is, and says whether it was
// on this node. Its credentials and allocations end.
func (h *Hub) Kick(peer, reason string) bool {
	if h.kick(peer, ReasonKicked, reason) {
		return true
	}
	data, err := json.Marshal(kick{Peer: peer, Reason: reason})
	if err == nil {
		err = h.o.Bus.Publish(subjectKick, data)
	}
	if err != nil {
		h.log.Warn("kick not published", "member", peer, "error", err)
	}
	return false
}

// kick is what travels on subjectKick.
type kick struct{ Peer, Reason string }

func (h *Hub) onKick(data []byte) []byte {
	var k kick
	if json.Unmarshal(data, &k) == nil {
		h.kick(k.Peer, ReasonKicked, k.Reason)
	}
	return nil
}

func (h *Hub) kick(peer, why, reason string) bool {
	s := h.session(peer)
	if s == nil {
		return false
	}
	s.expel(why, CloseForbidden, clip(reason, 100), true, false)
	return true
}

// Ban puts a member of this node out and keeps whoever it is out for a while: the
// token's subject, else its name, else its address. It says whether there was one.
func (h *Hub) Ban(peer, reason string, d time.Duration) bool {
	s := h.session(peer)
	if s == nil {
		return false
	}
	now := time.Now()
	h.mu.Lock()
	maps.DeleteFunc(h.bans, func(_ string, until time.Time) bool { return !now.Before(until) })
	h.bans[s.member.Identity] = now.Add(d)
	h.mu.Unlock()
	return h.kick(peer, ReasonBanned, reason)
}

// Bars says whether a ban keeps the bearer of a token out, of everything or of the one room
// of the native protocol that it opens.
func (h *Hub) Bars(c creds.Claims, address string) bool {
	now, m := time.Now(), h.member(&Hello{Claims: c, Address: address})
	h.mu.Lock()
	until, found := h.bans[m.Identity]
	in := h.tenants[native]
	h.mu.Unlock()
	if found && now.Before(until) {
		return true
	}
	barred := false
	if in != nil && m.Opens != "" {
		in.do(now, func(t *Tenant, out []Delivery) []Delivery {
			barred = t.banned(now, m.Opens, m.Identity)
			return out
		})
	}
	return barred
}

// clip shortens s to n bytes without cutting a character.
func clip(s string, n int) string {
	for len(s) > n {
		r := []rune(s)
		s = string(r[:len(r)-1])
	}
	return s
}

// RoomInfo and MemberInfo are snapshots for operators.
type RoomInfo struct {
	Tenant  string       `json:"tenant,omitempty"`
	Room    string       `json:"room"`
	Limit   int          `json:"limit"`
	Members []MemberInfo `json:"members"`
}

// MemberInfo is one member, in one room when it is part of a RoomInfo.
type MemberInfo struct {
	Peer string `json:"peer"`
	User string `json:"user,omitempty"`
	Role string `json:"role,omitempty"`
	Away bool   `json:"away,omitempty"`
}

// Rooms lists all rooms of this node, by tenant and name.
func (h *Hub) Rooms() []RoomInfo {
	var all []RoomInfo
	for _, x := range h.allTenants() {
		x.mu.Lock()
		for _, r := range x.tenant.rooms {
			info := RoomInfo{Tenant: x.tenant.Name, Room: r.Name, Limit: r.limit}
			for _, s := range r.seats {
				info.Members = append(info.Members, s.Member.info(s.Role))
			}
			all = append(all, info)
		}
		x.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b RoomInfo) int {
		return slices.Compare([]string{a.Tenant, a.Room}, []string{b.Tenant, b.Room})
	})
	return all
}

// Members lists all members of this node, also those in no room.
func (h *Hub) Members() []MemberInfo {
	var all []MemberInfo
	for _, x := range h.allTenants() {
		x.mu.Lock()
		for _, m := range x.tenant.members {
			all = append(all, m.info(""))
		}
		x.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b MemberInfo) int { return slices.Compare([]string{a.Peer}, []string{b.Peer}) })
	return all
}

func (m *Member) info(role string) MemberInfo {
	return MemberInfo{Peer: m.ID, User: m.User, Role: role, Away: !m.away.IsZero()}
}

// roomCount is the number of rooms of this node.
func (h *Hub) roomCount() (n int) {
	for _, x := range h.allTenants() {
		x.mu.Lock()
		n += len(x.tenant.rooms)
		x.mu.Unlock()
	}
	return n
}

func (h *Hub) allTenants() []*tenancy {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*tenancy, 0, len(h.tenants))
	for _, x := range h.tenants {
		all = append(all, x)
	}
	return all
}

func (h *Hub) session(peer string) *Session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[peer]
}

func (h *Hub) isDraining() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.draining
}

// guard is deferred by a session's goroutines: a panic is counted and ends this
// session only. There may be no session yet.
func (h *Hub) guard(s **Session) {
	fault := recover()
	if fault == nil {
		return
	}
	h.caught(fault)
	if *s != nil {
		(*s).expel(ReasonLimits, CloseInternal, "internal error", false, true)
	}
}

// Guard is deferred by the goroutines of a dialect's connections: a panic is counted and
// logged, and end, which ends this connection, is called.
func (h *Hub) Guard(end func()) {
	if fault := recover(); fault != nil {
		h.caught(fault)
		end()
	}
}

func (h *Hub) caught(fault any) {
	h.metrics.panics.Inc()
	h.log.Error("panic in a session", "panic", fault, "stack", string(debug.Stack()))
}
