package signaling

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// scan takes apart a message as clients usually write it, several times as fast as
// encoding/json and with no allocation but for what the Message keeps. It reports
// false for anything out of the ordinary (a field that it does not know, an escape
// in a name, null, deep nesting, any fault): then encoding/json has the last word. When
// it reports true, the Message is the one that encoding/json would have made; a fuzzer
// compares the two. data must be UTF-8.
func (m *Message) scan(data []byte) bool {
	s := scanner{b: data}
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return s.atEnd()
	}
	for {
		key, ok := s.text()
		if !ok || !s.take(':') || !m.field(string(key), &s) {
			return false
		}
		if s.take('}') {
			return s.atEnd()
		}
		if !s.take(',') {
			return false
		}
	}
}

// field takes the value of one field.
func (m *Message) field(key string, s *scanner) bool {
	switch key {
	case "type":
		return s.word(&m.Type, typeWords)
	case "kind":
		return s.word(&m.Kind, kindWords)
	case "to":
		return s.string(&m.To)
	case "conn":
		return s.string(&m.Conn)
	case "room":
		return s.string(&m.Room)
	case "role":
		return s.string(&m.Role)
	case "event":
		return s.string(&m.Event)
	case "user":
		return s.string(&m.User)
	case "token":
		return s.string(&m.Token)
	case "resume":
		return s.string(&m.Resume)
	case "peer":
		return s.string(&m.Peer)
	case "data":
		return s.raw(&m.Data)
	case "id":
		return s.raw(&m.ID)
	case "seq":
		return s.number(&m.Seq)
	case "echo":
		return s.bool(&m.Echo)
	}
	return false
}

// typeWords and kindWords are what strings usually are: these cost no allocation.
var (
	typeWords = words(TypeSignal, TypeMessage, TypePing, TypeJoin, TypeLeave, TypeUpdate, TypeHello, TypeICE, TypeBye)
	kindWords = words("offer", "answer", "candidate", "end", "ring", "accept", "reject", "busy", "cancel", "bye")
)

func words(all ...string) map[string]string {
	m := map[string]string{}
	for _, w := range all {
		m[w] = w
	}
	return m
}

// maxNesting is how deep a value may be for the scanner to take it.
const maxNesting = 64

// scanner goes through JSON (RFC 8259). Its methods skip white space before what they
// take and report false when something else is there.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// peek returns the next byte that is not white space, 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.i == len(s.b) {
		return 0
	}
	return s.b[s.i]
}

func (s *scanner) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.i++
	return true
}

func (s *scanner) atEnd() bool {
	s.space()
	return s.i == len(s.b)
}

// text takes a string without escapes and returns what is between its quotes.
func (s *scanner) text() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	for i, c := range s.b[s.i:] {
		switch {
		case c == '"':
			t := s.b[s.i : s.i+i]
			s.i += i + 1
			return t, true
		case c == '\\' || c < ' ':
			return nil, false
		}
	}
	return nil, false
}

func (s *scanner) string(into *string) bool {
	t, ok := s.text()
	*into = string(t)
	return ok
}

func (s *scanner) word(into *string, known map[string]string) bool {
	t, ok := s.text()
	if w, found := known[string(t)]; found {
		*into = w
	} else {
		*into = string(t)
	}
	return ok
}

func (s *scanner) bool(into *bool) bool {
	switch s.peek() {
	case 't':
		*into = true
		return s.literal("true")
	case 'f':
		*into = false
		return s.literal("false")
	}
	return false
}

func (s *scanner) number(into *uint64) bool {
	s.space()
	start := s.i
	if !s.digits() || s.b[start] == '0' && s.i > start+1 {
		return false
	}
	n, err := strconv.ParseUint(string(s.b[start:s.i]), 10, 64)
	*into = n
	return err == nil
}

// raw takes any value and keeps a copy of its bytes.
func (s *scanner) raw(into *json.RawMessage) bool {
	s.space()
	start := s.i
	if !s.value(maxNesting) {
		return false
	}
	*into = bytes.Clone(s.b[start:s.i])
	return true
}

// value takes any value.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case depth == 0:
		return false
	case c == '"':
		return s.quoted()
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.array(depth)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.decimal()
}

func (s *scanner) object(depth int) bool {
	s.i++
	if s.take('}') {
		return true
	}
	for {
		if s.peek() != '"' || !s.quoted() || !s.take(':') || !s.value(depth-1) {
			return false
		}
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) array(depth int) bool {
	s.i++
	if s.take(']') {
		return true
	}
	for {
		if !s.value(depth - 1) {
			return false
		}
		if s.take(']') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

func (s *scanner) literal(word string) bool {
	if !bytes.HasPrefix(s.b[s.i:], []byte(word)) {
		return false
	}
	s.i += len(word)
	return true
}

// quoted takes a string with its escapes; s.i is at the quote.
func (s *scanner) quoted() bool {
	for s.i++; ; {
		for i, c := range s.b[s.i:] {
			if c == '"' || c == '\\' || c < ' ' {
				s.i += i
				break
			}
		}
		switch {
		case s.one('"'):
			return true
		case !s.escape():
			return false
		}
	}
}

// escape takes one escape in a string, and nothing else.
func (s *scanner) escape() bool {
	if s.i+1 >= len(s.b) || s.b[s.i] != '\\' {
		return false
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return true
	case 'u':
		if s.i+6 > len(s.b) {
			return false
		}
		for _, c := range s.b[s.i+2 : s.i+6] {
			if !isHex(c) {
				return false
			}
		}
		s.i += 6
		return true
	}
	return false
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// decimal takes a number: an integer without needless zeros, a fraction, an exponent.
func (s *scanner) decimal() bool {
	s.one('-')
	start := s.i
	if !s.digits() || s.b[start] == '0' && s.i > start+1 {
		return false
	}
	if s.one('.') && !s.digits() {
		return false
	}
	if s.one('e') || s.one('E') {
		if !s.one('+') {
			s.one('-')
		}
		return s.digits()
	}
	return true
}

// digits takes at least one.
func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

// one takes c if it is the very next byte.
func (s *scanner) one(c byte) bool {
	if s.i == len(s.b) || s.b[s.i] != c {
		return false
	}
	s.i++
	return true
}
