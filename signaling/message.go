package signaling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The nine verbs of a client, and the answers of the server that are not verbs.
const (
	TypeHello   = "hello"
	TypeJoin    = "join"
	TypeLeave   = "leave"
	TypeSignal  = "signal"
	TypeMessage = "message"
	TypeUpdate  = "update"
	TypeICE     = "ice"
	TypePing    = "ping"
	TypeBye     = "bye"

	TypeWelcome = "welcome"
	TypeOK      = "ok"
	TypeError   = "error"
	TypeJoined  = "joined"
	TypePeer    = "peer"
	TypePong    = "pong"
	TypeGoing   = "going"
)

// Codes of errors, as they cross the wire.
const (
	CodeBadJSON      = "bad-json"
	CodeBadType      = "bad-type"
	CodeBadField     = "bad-field"
	CodeTooBig       = "too-big"
	CodeRate         = "rate"
	CodeUnauthorized = "unauthorized"
	CodeForbidden    = "forbidden"
	CodeTaken        = "taken"
	CodeNoRoom       = "no-room"
	CodeRoomFull     = "room-full"
	CodeLimit        = "limit"
	CodeAbsent       = "absent"
	CodeExpired      = "expired"
	CodeInternal     = "internal"
)

// Codes with which the server closes a socket.
const (
	CloseNormal       = 1000
	CloseGoing        = 1001
	CloseTooBig       = 1009
	CloseInternal     = 1011
	CloseProtocol     = 4400
	CloseUnauthorized = 4401
	CloseForbidden    = 4403
	CloseSlow         = 4408
	CloseTakenOver    = 4409
	CloseExpired      = 4410
	CloseRate         = 4429
)

const (
	maxName = 128   // bytes of a name
	maxID   = 34    // bytes of a message's id, with its quotes
	maxWait = 10000 // milliseconds
	maxBan  = 365 * 24 * 3600
)

// Error is a refusal as it crosses the wire.
type Error struct {
	Code    string
	Message string
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

func refuse(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Message is what a client says: one struct for all nine verbs. Data and ID are
// the client's own bytes; a nil Data was absent, which differs from null.
type Message struct {
	Type string          `json:"type"`
	ID   json.RawMessage `json:"id"`
	Seq  uint64          `json:"seq"`
	Data json.RawMessage `json:"data"`

	Token     string `json:"token"`
	User      string `json:"user"`
	Exclusive bool   `json:"exclusive"`
	Resume    string `json:"resume"`

	Room    string `json:"room"`
	Role    string `json:"role"`
	Replace bool   `json:"replace"`
	Limit   int    `json:"limit"`
	Quiet   bool   `json:"-"` // of a dialect: nobody hears of the seat until a join without it
	Peer    string `json:"peer"`
	Ban     int    `json:"ban"` // seconds

	To    string `json:"to"`
	Kind  string `json:"kind"`
	Conn  string `json:"conn"`
	Event string `json:"event"`
	Wait  int    `json:"wait"` // milliseconds
	Echo  bool   `json:"echo"`
}

// ParseMessage takes one text frame apart and checks its form: the verb is known,
// the fields it needs are there, names are names, numbers are in range. The
// Message owns its bytes. An error still returns the Message as far as it was
// understood, so that the answer can carry its id.
func ParseMessage(data []byte) (Message, *Error) {
	if !utf8.Valid(data) {
		return Message{}, refuse(CodeBadJSON, "the frame is not UTF-8")
	}
	var m Message
	if m.scan(data) {
		return m, m.form()
	}
	return parseJSON(data)
}

// parseJSON is ParseMessage for what the scanner leaves alone.
func parseJSON(data []byte) (Message, *Error) {
	var m Message
	if trimmed := bytes.TrimLeft(data, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return m, refuse(CodeBadJSON, "the frame is not a JSON object")
	}
	if err := json.Unmarshal(data, &m); err != nil {
		if m.checkID() != nil {
			m.ID = nil
		}
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) {
			return m, refuse(CodeBadField, "%s: cannot be a %s", wrong.Field, wrong.Value)
		}
		return m, refuse(CodeBadJSON, "the frame is not JSON")
	}
	return m, m.form()
}

// form checks a message that is JSON with fields of the right types.
func (m *Message) form() *Error {
	if err := m.checkID(); err != nil {
		m.ID = nil
		return err
	}
	for _, name := range []*string{&m.User, &m.Room, &m.Role, &m.To} {
		*name = norm.NFC.String(*name) // so that what looks the same is the same
	}
	return m.check()
}

// checkID admits a string of at most 32 bytes or an integer.
func (m *Message) checkID() *Error {
	if string(m.ID) == "null" {
		m.ID = nil
	}
	if len(m.ID) == 0 {
		return nil
	}
	switch {
	case len(m.ID) > maxID:
		return refuse(CodeBadField, "id: longer than 32 bytes")
	case m.ID[0] == '"':
		return nil
	case m.ID[0] == '-', m.ID[0] >= '0' && m.ID[0] <= '9':
		if !bytes.ContainsAny(m.ID, ".eE") {
			return nil
		}
	}
	return refuse(CodeBadField, "id: must be a string or an integer")
}

// check looks at the fields that the verb uses; the others do not matter.
func (m *Message) check() *Error {
	var c checker
	switch m.Type {
	case TypeHello:
		c.maybeName("user", m.User)
		if m.Room != "" {
			c.seat(m)
		}
	case TypeJoin:
		c.name("room", m.Room)
		c.seat(m)
	case TypeLeave:
		c.name("room", m.Room)
		c.maybeName("peer", m.Peer)
		c.between("ban", m.Ban, 0, maxBan)
	case TypeSignal:
		c.target(m.To)
		c.name("kind", m.Kind)
		c.maybeName("conn", m.Conn)
		c.between("wait", m.Wait, 0, maxWait)
	case TypeMessage:
		c.target(m.To)
		c.maybeName("event", m.Event)
		c.must("data", m.Data != nil)
	case TypeUpdate:
		c.maybeName("room", m.Room)
		c.role(m.Role)
		c.must("room", m.Role == "" || m.Room != "")
	case TypeICE, TypePing, TypeBye:
	default:
		return refuse(CodeBadType, "there is no such type")
	}
	return c.err
}

// checker remembers the first fault.
type checker struct{ err *Error }

func (c *checker) fault(field, what string) {
	if c.err == nil {
		c.err = refuse(CodeBadField, "%s: %s", field, what)
	}
}

func (c *checker) must(field string, there bool) {
	if !there {
		c.fault(field, "is missing")
	}
}

func (c *checker) between(field string, v, low, high int) {
	if v < low || v > high {
		c.fault(field, fmt.Sprintf("must be %d to %d", low, high))
	}
}

func (c *checker) name(field, s string) {
	c.must(field, s != "")
	c.maybeName(field, s)
}

func (c *checker) maybeName(field, s string) {
	if s != "" && !validName(s) {
		c.fault(field, "must be 1 to 128 bytes without control characters and marks of direction")
	}
}

func (c *checker) role(s string) {
	c.maybeName("role", s)
	if strings.Contains(s, "/") {
		c.fault("role", "must not contain /")
	}
}

func (c *checker) seat(m *Message) {
	c.maybeName("room", m.Room)
	c.role(m.Role)
	c.must("role", m.Role != "" || !m.Replace)
	c.between("limit", m.Limit, 0, 1<<20)
}

// target admits PEER, @USER, #ROOM and #ROOM/ROLE.
func (c *checker) target(to string) {
	rest := to
	switch {
	case strings.HasPrefix(to, "@"):
		rest = to[1:]
	case strings.HasPrefix(to, "#"):
		rest = to[1:]
		if validName(rest) {
			return
		}
		room, role, found := cutLast(rest)
		if found && validName(room) && validName(role) {
			return
		}
	}
	c.name("to", rest)
}

// validName says whether s is 1–128 bytes of UTF-8 without characters that deceive.
func validName(s string) bool {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) {
		return false
	}
	return strings.IndexFunc(s, deceives) < 0
}

// deceives says whether a character of a name could make it look like another's, or like
// more than a name: controls, line ends, and marks that turn the direction of writing.
func deceives(r rune) bool {
	if r < utf8.RuneSelf { // the usual
		return r < ' ' || r == 0x7f
	}
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
}

// cutLast splits ROOM/ROLE at the last slash, for a role has none.
func cutLast(s string) (room, role string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}
