package jsonws

import (
	"encoding/json"
	"sync"

	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/signaling/dialect/rawjson"
	"rtcd/signaling/dialect/textsocket"
	"rtcd/signaling/dialect/ywebrtc"
)

// client is one socket: it implements textsocket.Handler.
type client struct {
	hub     *signaling.Hub
	o       *Options
	tenant  string
	address string
	claims  creds.Claims
	socket  *textsocket.Socket
	topics  *ywebrtc.Subscriber

	mu    sync.Mutex // guards the following
	login login
}

// Opened implements textsocket.Handler.
func (c *client) Opened(s *textsocket.Socket) {
	c.socket = s
	c.topics = ywebrtc.New(c.hub, c.hello("topics:"), s)
	if !c.o.NoLogin {
		s.Post([]byte(`{"type":"hello","message":"Welcome to connect Signaling Server"}`))
	}
}

// Closed implements textsocket.Handler.
func (c *client) Closed() {
	c.topics.End()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.login.end()
}

// Receive implements textsocket.Handler.
func (c *client) Receive(frame []byte) {
	verb, m := parse(frame)
	if !c.o.NoTopics && c.topics.Receive(verb, m) || c.o.NoLogin {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch verb {
	case "login":
		c.enter(m)
	case "offer", "answer", "candidate", "leave":
		c.signal(verb, m)
	default:
		c.socket.Post(wordError("Command not found: " + verb))
	}
}

// hello is how the client comes into a tenant of its dialect.
func (c *client) hello(dialect string) signaling.Hello {
	return signaling.Hello{Dialect: "jsonws", Tenant: dialect + c.tenant, Address: c.address, Claims: c.claims}
}

// parse takes a frame apart. What has no type is "undefined", as JavaScript says.
func parse(frame []byte) (verb string, m map[string]json.RawMessage) {
	m, _ = rawjson.Object(frame)
	if verb, _ = rawjson.Text(m["type"]); verb == "" {
		return "undefined", nil
	}
	return verb, m
}
