package signaling

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Transport carries a session's events to its client: a WebSocket of the native
// protocol, or what a dialect speaks.
type Transport interface {
	// Send writes the batch in order, best in one flush, and returns within a
	// bounded time. There is one call at a time. TypePing asks for the transport's
	// own sign of life.
	Send(batch []Frame) error
	// Close tells the far side code and reason where its protocol can, and ends
	// the transport; code 0 just cuts. It may be called more than once.
	Close(code int, reason string)
}

// Prompter is a Transport that may be able to send without waiting.
type Prompter interface {
	Transport
	// Prompt says whether this one is. It says the same each time.
	Prompt() bool
	// TrySend is Send as far as there is room. It returns what it did not take of batch, and
	// false if there is no room for more now; then the next Send, even of nothing, first
	// sends what was taken but did not fit.
	TrySend(batch []Frame) (rest []Frame, room bool, err error)
}

// Session is a member's connection to the hub: its queue, and the transport that
// carries it at the moment. It outlives a lost transport for the resume window.
type Session struct {
	hub    *Hub
	in     *tenancy
	member *Member
	slot   // in the agenda: pings and credentials

	counted prometheus.Gauge // the sessions of its dialect
	caller  string           // counted in the hub's callers
	purse   purse            // guarded by in.mu

	recv  sync.Mutex // one message at a time; guards the following
	got   uint64     // messages taken, without hello and ping
	rate  bucket
	bytes bucket
	mercy bucket // refusals for rate before the end

	mu         sync.Mutex // guards the following
	out        outbox
	link       *link // nil while away
	ping       time.Time
	generation uint64 // of the resume token
	heard      bool   // something came from the link of this generation
	over       bool
}

// link is one transport of a session, guarded by the session's mu.
type link struct {
	t       Transport
	prompt  Prompter // t, if it can send without waiting
	writing bool     // a goroutine writes, or will never again
	cut     bool     // send nothing more
	code    int      // then close with this
	reason  string
}

// newLink returns a link that nobody writes to before start.
func newLink(t Transport) *link {
	l := &link{t: t, writing: true}
	if p, ok := t.(Prompter); ok && p.Prompt() {
		l.prompt = p
	}
	return l
}

// signOfLife makes a transport ping its far side.
var signOfLife = &Event{Type: TypePing}

// batchSize is how many frames go out in one flush.
const batchSize = 64

var batches = sync.Pool{New: func() any { b := make([]Frame, 0, batchSize); return &b }}

func newSession(h *Hub, in *tenancy, m *Member, t Transport, now time.Time) *Session {
	l := h.o.Limits
	s := &Session{
		hub: h, in: in, member: m, link: newLink(t),
		rate:       l.messages().full(),
		bytes:      l.bytes().full(),
		mercy:      l.mercy().full(),
		purse:      purse{opened: openings.full()},
		ping:       now.Add(h.o.PingEvery),
		generation: 1,
	}
	s.slot.item = s
	m.session = s
	return s
}

// Peer is the member's id.
func (s *Session) Peer() string { return s.member.ID }

// pushed says what became of an event for a session's queue.
type pushed int

const (
	pushOK   pushed = iota // it is queued, or the session is over, which is no fault
	pushFull               // there was no room
	pushHogs               // its sender has more than its share of what waits already
)

// push queues e and says whether there was room. After the end nothing is queued,
// which is no fault.
func (s *Session) push(e *Event, numbered bool) bool {
	return s.pushFor(e, numbered, false, nil) == pushOK
}

// pushFor is push. If fair is set, nobody shall be able to get somebody else put out: a sender
// to whom most of a nearly full queue belongs has no more room. If turns is not nil and the
// session's writer need not wait, its turn is appended instead of a writer started.
func (s *Session) pushFor(e *Event, numbered, fair bool, turns *[]turn) pushed {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
		return pushOK
	case fair && e.From != "" && e.From != s.member.ID && s.out.hogs(e, s.hub.o.Limits):
		return pushHogs // the answer names no message: dialects, which have no word for it, pass it over
	case !s.out.push(e, numbered, s.hub.o.Limits):
		return pushFull
	}
	l := s.link
	if turns == nil || l == nil || l.writing || l.prompt == nil {
		s.wakeLocked(l)
		return pushOK
	}
	l.writing = true
	*turns = append(*turns, turn{s, l})
	return pushOK
}

// tell queues an answer that the tenant has no part in.
func (s *Session) tell(e *Event, numbered bool) {
	if e.Type == TypeError {
		s.hub.metrics.refused.WithLabelValues(e.Code).Inc()
	}
	if !s.push(e, numbered) {
		s.hub.metrics.overfull.Inc()
		s.expel(ReasonSlow, CloseSlow, "too slow", false, true)
	}
}

// wakeLocked starts a writer unless there is one.
func (s *Session) wakeLocked(l *link) {
	if l == nil || l.writing {
		return
	}
	l.writing = true
	s.hub.wg.Add(1)
	// Owned by the hub's WaitGroup; ends when the queue is empty or the link is cut.
	go s.write(l)
}

// write sends what waits, as long as something waits.
func (s *Session) write(l *link) {
	defer s.hub.wg.Done()
	defer s.hub.guard(&s)
	batch := batches.Get().(*[]Frame)
	defer batches.Put(batch)
	s.writeOn(l, batch)
}

// writeOn is write with a batch to use. It does not hold a lock while it sends.
func (s *Session) writeOn(l *link, batch *[]Frame) {
	for {
		ok, code, reason := s.next(l, batch)
		if !ok {
			if code != 0 {
				l.t.Close(code, reason)
			}
			return
		}
		if !s.send(l, batch, *batch) {
			return
		}
	}
}

// send sends what is left of a batch, and says whether it did.
func (s *Session) send(l *link, batch *[]Frame, rest []Frame) bool {
	var sent tally
	ok := s.wrote(l, batch, &sent, l.t.Send(rest))
	sent.tell(s.hub.metrics, time.Now())
	return ok
}

// wrote is the end of one batch. After an error it reports false: the link's reader
// notices, and as l.writing stays nobody writes again.
func (s *Session) wrote(l *link, batch *[]Frame, sent *tally, err error) bool {
	sent.add(s.hub.metrics, *batch)
	clear(*batch)
	if err != nil {
		s.later(func() { l.t.Close(0, "") }) // it waits for a reader, which the caller may be
	}
	return err == nil
}

// next fills the batch. If there is nothing it lets go of the link, which the caller
// then closes if code is not 0.
func (s *Session) next(l *link, batch *[]Frame) (ok bool, code int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*batch = (*batch)[:0]
	if !l.cut {
		*batch = s.out.take(*batch, batchSize, s.hub.o.Limits)
	}
	if len(*batch) > 0 {
		return true, 0, ""
	}
	l.writing = l.code != 0 || l.cut
	return false, l.code, l.reason
}

// start lets the first writer of a link go, with the welcome in front.
func (s *Session) start(l *link, welcome *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.out.unshift(welcome)
	}
	l.writing = false
	s.wakeLocked(l)
}

// finish ends the session's side of things: what waits is still sent unless cut,
// then the transport is closed. The member is the caller's business.
func (s *Session) finish(code int, reason string, cut bool) {
	if s.close(code, reason, cut) {
		s.logEnd(code, reason)
	}
}

// log tells of a step in the member's life. One without a token is a stranger, and strangers
// shall not fill the disk.
func (s *Session) log(message string, args ...any) {
	level := slog.LevelInfo
	if s.member.Expires.IsZero() {
		level = slog.LevelDebug
	}
	s.hub.log.Log(context.Background(), level, message, args...)
}

// logEnd tells of the end, under no lock: the hub must not wait for a log.
func (s *Session) logEnd(code int, reason string) {
	s.log("session ended", "event", "session_ended", "member", s.member.ID, "code", code, "reason", reason)
}

// close is finish without the log; false if it was over.
func (s *Session) close(code int, reason string, cut bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.over = true
	s.hub.forget(s) // before the client can know
	s.hub.agenda.set(&s.slot, time.Time{})
	s.hub.metrics.closed.WithLabelValues(strconv.Itoa(code)).Inc()
	if s.link == nil || cut {
		s.out.discard()
	}
	if l := s.link; l != nil {
		l.cut, l.code, l.reason = cut, code, reason
		s.wakeLocked(l)
	} else {
		s.hub.metrics.away.Dec()
	}
	return true
}

// logRoom tells that the member came into a room or left it.
func (s *Session) logRoom(what, room string) {
	s.log("member "+what+" a room", "event", "room_"+what, "member", s.member.ID, "room", room, "tenant", s.in.tenant.Name)
}

// expel removes the member and ends the session.
func (s *Session) expel(why string, code int, reason string, revoke, cut bool) {
	s.in.do(time.Now(), func(t *Tenant, out []Delivery) []Delivery {
		return t.Remove(s.member, why, revoke, out)
	})
	s.finish(code, reason, cut)
}

// lost is the end of a link. If it was the session's, the member is away now.
func (s *Session) lost(l *link) {
	s.mu.Lock()
	l.cut = true
	if s.over || s.link != l {
		s.mu.Unlock()
		return
	}
	s.link = nil
	s.mu.Unlock()
	s.hub.metrics.away.Inc()
	now := time.Now()
	s.in.do(now, func(t *Tenant, out []Delivery) []Delivery { return t.Away(now, s.member, out) })
	s.settle()
}

// settle makes the tenant agree with the link, when a socket was lost and another
// came at the same time.
func (s *Session) settle() {
	s.mu.Lock()
	here := s.link != nil && !s.over
	s.mu.Unlock()
	if here {
		s.in.do(time.Now(), func(t *Tenant, out []Delivery) []Delivery { return t.Back(s.member, out) })
	}
}

// resume puts t in place of the old transport, if the token's generation is right
// and nothing after the hello's seq is forgotten. It returns the new link with the welcome on
// its way, or nil; then the session is over, unless the token was used up.
func (s *Session) resume(t Transport, generation uint64, hello *Message) *link {
	s.recv.Lock() // no message of the old socket is half taken
	defer s.recv.Unlock()
	now := time.Now()
	var l *link
	var welcome *Event
	var missed bool
	s.in.do(now, func(tenant *Tenant, out []Delivery) []Delivery {
		if s.member.gone { // others have heard so; the end of the session follows
			return out
		}
		if l, missed = s.relink(t, generation, hello.Seq, now); l == nil {
			return out
		}
		welcome = s.hub.welcome(s, generation+1, true)
		welcome.Re, welcome.Got = hello.ID, s.got
		out = tenant.Back(s.member, out)
		welcome.Welcome.Rooms = s.member.rooms(false)
		if len(s.member.seats) > 0 {
			welcome.ICE, welcome.TTL = s.in.open(now, s)
		}
		return out
	})
	if missed {
		s.expel(ReasonLost, CloseExpired, "more was missed than is kept", false, true)
	}
	if l == nil {
		return nil
	}
	s.hub.metrics.resumed.Inc()
	s.hub.agenda.sooner(&s.slot, now.Add(s.hub.o.PingEvery))
	s.start(l, welcome)
	return l
}

// relink is the session's part of resume. It returns nil if the token is used up, or if the
// client missed more than is kept.
func (s *Session) relink(t Transport, generation, seq uint64, now time.Time) (l *link, missed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || generation != s.generation && (generation+1 != s.generation || s.heard) {
		return nil, false
	}
	if !s.out.rewind(seq) {
		return nil, true
	}
	s.generation = generation + 1 // the same again for a client that missed the welcome
	s.heard = false
	s.ping = now.Add(s.hub.o.PingEvery)
	return s.takeOverLocked(t), false
}

// takeOverLocked replaces the link; an old one is closed with 4409.
func (s *Session) takeOverLocked(t Transport) *link {
	if old := s.link; old != nil {
		old.cut, old.code, old.reason = true, CloseTakenOver, "taken over"
		s.wakeLocked(old)
	} else {
		s.hub.metrics.away.Dec()
	}
	s.link = newLink(t)
	return s.link
}

// due sends the ping, and at half their lifetime new credentials.
func (s *Session) due(now time.Time) time.Time {
	defer s.hub.guard(&s)
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return time.Time{}
	}
	next := time.Time{}
	here, ping := s.link != nil, false
	if here {
		if ping = !now.Before(s.ping); ping {
			s.ping = now.Add(s.hub.o.PingEvery)
		}
		next = s.ping
	}
	s.mu.Unlock()
	if ping {
		s.tell(signOfLife, false)
	}
	if refresh := s.refresh(now, here); !refresh.IsZero() && (next.IsZero() || refresh.Before(next)) {
		next = refresh
	}
	return next
}

// refresh pushes new credentials when they are due and returns when that is next.
func (s *Session) refresh(now time.Time, here bool) time.Time {
	var due time.Time
	s.in.do(now, func(t *Tenant, out []Delivery) []Delivery {
		due = s.purse.due()
		if due.IsZero() || s.member.gone {
			due = time.Time{}
			return out
		}
		if !now.Before(due) {
			due = time.Time{} // one who is away, or in no room, gets new ones when it is back
			if here && t.serves(s.member) {
				s.pushICE(now, nil)
				due = s.purse.due()
			}
		}
		return out
	})
	return due
}

// pushICE queues credentials; the tenancy's lock is held. The queue may be full:
// then the next delivery notices.
func (s *Session) pushICE(now time.Time, re []byte) {
	servers, ttl := s.in.open(now, s)
	if servers == nil {
		servers = &ICEServers{}
	}
	s.push(&Event{Type: TypeICE, Re: re, ICE: servers, TTL: ttl}, false)
}
