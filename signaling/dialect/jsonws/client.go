package jsonws

import (
	"encoding/json"
	"strings"
	"sync"
	"unicode/utf8"

	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/signaling/dialect/textsocket"
)

// client is one socket: it implements textsocket.Handler.
type client struct {
	hub     *signaling.Hub
	tenant  string
	address string
	claims  creds.Claims
	socket  *textsocket.Socket

	mu     sync.Mutex // guards the following
	login  login
	topics topics
}

// Opened implements textsocket.Handler.
func (c *client) Opened(s *textsocket.Socket) {
	c.socket = s
	s.Post([]byte(`{"type":"hello","message":"Welcome to connect Signaling Server"}`))
}

// Closed implements textsocket.Handler.
func (c *client) Closed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.login.end()
	c.topics.end()
}

// Receive implements textsocket.Handler.
func (c *client) Receive(frame []byte) {
	verb, m := parse(frame)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch verb {
	case "login":
		c.enter(m)
	case "offer", "answer", "candidate", "leave":
		c.signal(verb, m)
	case "subscribe", "unsubscribe":
		c.subscribe(verb, m)
	case "publish":
		c.publish(m)
	case "ping":
		c.socket.Post([]byte(`{"type":"pong"}`))
	default:
		c.fail("Command not found: " + verb)
	}
}

// parse takes a frame apart. What has no type is "undefined", as JavaScript says.
func parse(frame []byte) (verb string, m map[string]json.RawMessage) {
	if !utf8.Valid(frame) || json.Unmarshal(frame, &m) != nil || json.Unmarshal(m["type"], &verb) != nil || verb == "" {
		return "undefined", nil
	}
	return verb, m
}

func (c *client) fail(message string) {
	b := appendString([]byte(`{"type":"error","message":`), message)
	c.socket.Post(append(b, '}'))
}

// seat is the socket as a transport of one membership: hear makes frames of what
// the hub says, under the client's lock.
type seat struct {
	client *client
	hear   func(e *signaling.Event) []byte // nil once the membership is over
}

// Send implements signaling.Transport. It waits while the client is slow, so that the
// hub's queue fills and its rule applies.
func (t *seat) Send(batch []signaling.Frame) error {
	frames := make([][]byte, 0, len(batch))
	t.client.mu.Lock()
	for _, f := range batch {
		if t.hear == nil {
			break
		}
		if frame := t.hear(f.Event); frame != nil {
			frames = append(frames, frame)
		}
	}
	t.client.mu.Unlock()
	if len(frames) == 0 {
		return nil
	}
	return t.client.socket.Send(frames...)
}

// Close implements signaling.Transport.
func (t *seat) Close(code int, reason string) {
	t.client.mu.Lock()
	over := t.hear == nil
	t.client.mu.Unlock()
	if !over {
		if code == 0 {
			code = signaling.CloseGoing
		}
		t.client.socket.Close(code, reason)
	}
}

// open begins a membership.
func (c *client) open(hello signaling.Hello, t *seat) (*signaling.Session, error) {
	hello.Address, hello.Claims = c.address, c.claims
	return c.hub.Open(hello, t)
}

// text is a string; ok is false for all else.
func text(v json.RawMessage) (s string, ok bool) {
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(v, &s) == nil
}

// validName says whether s is 1–128 bytes without control characters.
func validName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffd
	})
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	quoted, err := json.Marshal(s) // cannot fail: what is not UTF-8 is replaced
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, quoted...)
}
