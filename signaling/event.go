package signaling

import (
	"bytes"
	"encoding/json"
	"strconv"
	"sync"
)

// Names of peer events, and the reasons of a leave.
const (
	EventJoin   = "join"
	EventUpdate = "update"
	EventAway   = "away"
	EventBack   = "back"
	EventLeave  = "leave"

	ReasonLeft     = "left"
	ReasonLost     = "lost"
	ReasonKicked   = "kicked"
	ReasonBanned   = "banned"
	ReasonReplaced = "replaced"
	ReasonSlow     = "slow"
	ReasonLimits   = "limits"
)

// Polite says who yields when two peers offer at once. It is a third state to
// not say anything.
type Polite int8

const (
	Impolite Polite = -1
	Yields   Polite = 1
)

func politeTo(me, other *Member) Polite {
	if me.serial > other.serial {
		return Yields
	}
	return Impolite
}

// PeerView is one participant as another one sees it.
type PeerView struct {
	Peer   string
	User   string
	Role   string
	Data   json.RawMessage
	Away   bool
	Polite Polite
}

// RoomView is a room in a welcome. Peers is nil when the session was resumed.
type RoomView struct {
	Room  string
	Role  string
	Peers []PeerView
}

// Event is what the server tells a member. One Event is shared by all who get
// it and is not changed once it is delivered; its JSON is made at most once.
type Event struct {
	Type    string
	Re      json.RawMessage // the id of the message that this answers
	Room    string
	Name    string // `event` of peer and message
	From    string
	Peer    string
	User    string
	Role    string
	Kind    string
	Conn    string
	Data    json.RawMessage // nil: absent
	Reason  string
	Polite  Polite
	weight  int32      // size, if it is known
	N       int        // ok: how many were reached
	Peers   []PeerView // joined
	Code    string     // error
	Message string     // error
	To      string     // error

	Welcome *Welcome
	ICE     *ICEServers
	TTL     int    // seconds left of ICE
	Got     uint64 // pong
	Retry   int64  // going: milliseconds

	once sync.Once
	body []byte
	born int64 // Unix nanoseconds of what made it; 0 for what the server says by itself
}

// Welcome is what only a welcome has.
type Welcome struct {
	Server  string
	Resume  string
	Keep    int // seconds
	Resumed bool
	Rooms   []RoomView
	Limits  Limits
}

// size estimates the bytes on the wire without making them.
func (e *Event) size() int {
	if e.weight > 0 {
		return int(e.weight)
	}
	n := 96 + len(e.Room) + len(e.Name) + len(e.From) + len(e.Peer) + len(e.User) + len(e.Role) +
		len(e.Kind) + len(e.Conn) + len(e.Data) + len(e.Message) + len(e.To)
	for i := range e.Peers {
		p := &e.Peers[i]
		n += 64 + len(p.Peer) + len(p.User) + len(p.Role) + len(p.Data)
	}
	return n
}

// JSON returns the event without its seq, as an object whose first byte is '{'.
// The bytes are shared: read only.
func (e *Event) JSON() []byte {
	e.once.Do(e.encode)
	return e.body
}

// scratch holds JSON until its length is known: what waits for a resume is kept for long.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func (e *Event) encode() {
	b := scratch.Get().(*[]byte)
	*b = e.appendJSON((*b)[:0])
	e.body = bytes.Clone(*b)
	if cap(*b) <= maxKept {
		scratch.Put(b)
	}
}

// AppendFrame appends the event as one text frame, numbered if seq is not 0. The
// number goes in front, so that the rest is the same bytes for everybody.
func (e *Event) AppendFrame(b []byte, seq uint64) []byte {
	body := e.JSON()
	if seq == 0 {
		return append(b, body...)
	}
	return append(appendSeq(b, seq), body[1:]...)
}

// appendSeq appends what stands in front of a numbered event, in place of its brace.
func appendSeq(b []byte, seq uint64) []byte {
	if seq == 0 {
		return b
	}
	b = append(b, `{"seq":`...)
	b = strconv.AppendUint(b, seq, 10)
	return append(b, ',')
}

func (e *Event) appendJSON(b []byte) []byte {
	w := writer{b: append(b, '{')}
	w.text("type", e.Type)
	w.raw("re", e.Re)
	switch e.Type {
	case TypeWelcome:
		w.welcome(e)
	case TypeOK:
		w.number("n", int64(e.N))
	case TypePong:
		w.number("got", int64(e.Got))
	case TypeGoing:
		w.number("retryAfter", e.Retry)
	case TypeICE:
		w.ice(e.ICE, e.TTL)
	default:
		w.common(e)
	}
	return append(w.b, '}')
}

// common writes joined, peer, signal, message and error.
func (w *writer) common(e *Event) {
	w.text("room", e.Room)
	w.text("event", e.Name)
	w.text("from", e.From)
	w.text("peer", e.Peer)
	w.text("user", e.User)
	w.text("role", e.Role)
	w.text("kind", e.Kind)
	w.text("code", e.Code)
	w.text("message", e.Message)
	w.text("to", e.To)
	w.text("conn", e.Conn)
	w.raw("data", e.Data)
	w.text("reason", e.Reason)
	w.polite(e.Polite)
	if e.Type == TypeJoined {
		w.peers(e.Peers)
		if e.ICE != nil {
			w.key("ice")
			w.open('{')
			w.ice(e.ICE, e.TTL)
			w.close('}')
		}
	}
}

func (w *writer) welcome(e *Event) {
	h := e.Welcome
	w.number("v", 1)
	w.text("server", h.Server)
	w.text("peer", e.Peer)
	w.text("user", e.User)
	w.text("resume", h.Resume)
	w.number("keep", int64(h.Keep))
	w.flag("resumed", h.Resumed)
	w.number("got", int64(e.Got))
	w.key("rooms")
	w.open('[')
	for _, r := range h.Rooms {
		w.comma()
		w.open('{')
		w.text("room", r.Room)
		w.text("role", r.Role)
		if r.Peers != nil {
			w.peers(r.Peers)
		}
		w.close('}')
	}
	w.close(']')
	if e.ICE != nil {
		w.key("ice")
		w.open('{')
		w.ice(e.ICE, e.TTL)
		w.close('}')
	}
	w.key("limits")
	w.open('{')
	w.number("message", int64(h.Limits.MessageBytes))
	w.number("rate", int64(h.Limits.Rate))
	w.number("burst", int64(h.Limits.Burst))
	w.number("rooms", int64(h.Limits.Rooms))
	w.number("members", int64(h.Limits.Members))
	w.number("presence", int64(h.Limits.PresenceBytes))
	w.close('}')
}

// writer appends JSON; the relayed parts go through it untouched.
type writer struct{ b []byte }

// comma separates from what stands before, if anything does.
func (w *writer) comma() {
	if last := w.b[len(w.b)-1]; last != '{' && last != '[' && last != ':' {
		w.b = append(w.b, ',')
	}
}

func (w *writer) key(k string) {
	w.comma()
	w.b = append(w.b, '"')
	w.b = append(w.b, k...)
	w.b = append(w.b, '"', ':')
}

func (w *writer) open(c byte)  { w.b = append(w.b, c) }
func (w *writer) close(c byte) { w.b = append(w.b, c) }

// text writes a string field unless it is empty.
func (w *writer) text(k, v string) {
	if v != "" {
		w.key(k)
		w.b = appendString(w.b, v)
	}
}

func (w *writer) raw(k string, v json.RawMessage) {
	if v != nil {
		w.key(k)
		w.b = append(w.b, v...)
	}
}

func (w *writer) number(k string, v int64) {
	w.key(k)
	w.b = strconv.AppendInt(w.b, v, 10)
}

func (w *writer) flag(k string, v bool) {
	w.key(k)
	w.b = strconv.AppendBool(w.b, v)
}

func (w *writer) polite(p Polite) {
	if p != 0 {
		w.flag("polite", p == Yields)
	}
}

func (w *writer) peers(peers []PeerView) {
	w.key("peers")
	w.open('[')
	for i := range peers {
		p := &peers[i]
		w.comma()
		w.open('{')
		w.text("peer", p.Peer)
		w.text("user", p.User)
		w.text("role", p.Role)
		w.raw("data", p.Data)
		if p.Away {
			w.flag("away", true)
		}
		w.polite(p.Polite)
		w.close('}')
	}
	w.close(']')
}

func (w *writer) ice(s *ICEServers, ttl int) {
	w.key("iceServers")
	w.open('[')
	for _, server := range s.Servers {
		w.comma()
		w.open('{')
		w.key("urls")
		w.open('[')
		for _, u := range server.URLs {
			w.comma()
			w.b = appendString(w.b, u)
		}
		w.close(']')
		w.text("username", server.Username)
		w.text("credential", server.Credential)
		w.close('}')
	}
	w.close(']')
	w.number("ttl", int64(ttl))
}

// appendString appends s as a JSON string. Nearly every name is plain ASCII.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(b, `""`...)
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
