package peerjs

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"sync"

	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/signaling/dialect/textsocket"
)

// client is one socket: it implements textsocket.Handler.
type client struct {
	server   *Server
	name     name
	token    string
	address  string
	claims   creds.Claims
	refusal  string // why it may not come in
	stranger bool   // because its key is worth nothing
	socket   *textsocket.Socket

	mu      sync.Mutex         // guards the following
	session *signaling.Session // nil: not a member
	seat    *textsocket.Seat
	post    post
}

// client looks at a request for a socket. What is wrong with it is told on the socket.
func (s *Server) client(r *http.Request) *client {
	q := r.URL.Query()
	key := q.Get("key")
	c := &client{server: s, name: name{id: q.Get("id")}, token: q.Get("token"), address: s.sockets.Address(r)}
	if c.name.id == "" || c.token == "" || key == "" {
		c.refusal = noParameters
		return c
	}
	var err *signaling.Error
	c.name.tenant, c.claims, err = s.world(key)
	c.stranger = err != nil
	switch {
	case err != nil, c.claims.Expires.IsZero() && len(key) > maxID:
		c.refusal = invalidKey
	case len(c.token) > maxToken:
		c.refusal = invalidToken
	case c.claims.Name != "":
		if c.claims.Name != c.name.id {
			c.refusal = "The key is for another ID"
		}
	case len(c.name.id) > maxID || !validID.MatchString(c.name.id):
		c.refusal = "ID is invalid"
	}
	return c
}

// Opened implements textsocket.Handler.
func (c *client) Opened(s *textsocket.Socket) {
	c.socket = s
	if c.refusal == "" {
		c.refusal = c.enter()
	}
	switch c.refusal {
	case "":
		return
	case signaling.CodeTaken:
		s.Post([]byte(`{"type":"ID-TAKEN","payload":{"msg":"ID is taken"}}`))
	default:
		s.Post(wordError(c.refusal))
	}
	s.Close(signaling.CloseNormal, "")
}

// enter makes the client a member, in place of an older socket of the same one.
// It returns why not, or "".
func (c *client) enter() string {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.peers[c.name]; old != nil && subtle.ConstantTimeCompare([]byte(old.token), []byte(c.token)) == 1 {
		old.leave()
		old.socket.Close(signaling.CloseTakenOver, "taken over")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	room := c.claims.Room
	if room == "" {
		room = c.name.id // alone: credentials go to members of a room
	}
	seat := textsocket.NewSeat(c.socket, &c.mu, c.hear)
	session, err := s.hub.Open(signaling.Hello{
		Dialect: "peerjs", Tenant: c.name.tenant, Direct: true, User: c.name.id, Exclusive: true,
		Address: c.address, Claims: c.claims,
		Join: signaling.Message{Type: signaling.TypeJoin, Room: room},
	}, seat)
	var refused *signaling.Error
	switch {
	case err == nil:
	case !errors.As(err, &refused):
		return err.Error()
	case refused.Code == signaling.CodeTaken:
		return refused.Code
	case refused.Code == signaling.CodeRoomFull:
		return limitExceeded
	default:
		return refused.Message
	}
	c.session, c.seat = session, seat
	c.post = post{session: session, wait: int(s.o.Expire.Milliseconds())}
	s.peers[c.name] = c
	return ""
}

// leave ends the membership, and with it what waits.
func (c *client) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil {
		c.seat.LeaveLocked()
		c.session.End()
		c.session, c.post = nil, post{}
	}
}

// Closed implements textsocket.Handler.
func (c *client) Closed() {
	c.leave()
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if c.server.peers[c.name] == c {
		delete(c.server.peers, c.name)
	}
}

// Receive implements textsocket.Handler.
func (c *client) Receive(frame []byte) {
	m, ok := parse(frame)
	if !ok {
		return
	}
	if m.kind == "LEAVE" && m.dst == "" {
		c.leave()
		c.socket.Close(signaling.CloseNormal, "")
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session != nil && !c.post.send(m) {
		c.socket.Post(wordExpire(m.dst, c.name.id))
	}
}

// hear words what the hub says.
func (c *client) hear(e *signaling.Event) [][]byte {
	switch e.Type {
	case signaling.TypeWelcome:
		return [][]byte{wordOpen(e)}
	case signaling.TypeSignal:
		return [][]byte{wordMessage(e.Kind, e.User, c.name.id, e.Data)}
	case signaling.TypeOK:
		c.post.arrived(e.Re)
	case signaling.TypeError:
		if dst := c.post.failed(e.Re); dst != "" {
			return [][]byte{wordExpire(dst, c.name.id)}
		}
	}
	return nil
}
