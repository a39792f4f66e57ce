package socketio

import (
	"errors"
	"sync"

	"rtcd/signaling"
	"rtcd/signaling/dialect/socketio/engine"
)

// socket is a client in one namespace: a member of the hub, and the vocabulary that
// translates between the two.
type socket struct {
	client    *client
	namespace string
	id        string

	mu      sync.Mutex // guards the following
	words   vocabulary
	session *signaling.Session // nil: a member of nothing
	seat    *seat              // its transport
	out     []engine.Packet    // emitted, not yet on the way
	goodbye bool               // disconnect when that is on the way
	closed  bool
}

// vocabulary translates for one socket, whose lock is held.
type vocabulary interface {
	// take carries out an event of the client.
	take(s *socket, e *input)
	// hear tells the client what the hub says.
	hear(s *socket, e *signaling.Event)
}

func newSocket(c *client, namespace string) *socket {
	s := &socket{client: c, namespace: namespace, words: unpinned{}}
	switch {
	case c.conn.Revision() == 4:
		s.id = newID()
	case namespace == "/":
		s.id = c.conn.ID()
	default:
		s.id = namespace + "#" + c.conn.ID()
	}
	return s
}

// open makes the socket a listener of its lobby, and answers the client. It returns
// why not, or "".
func (s *socket) open() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.enter(); err != nil {
		return err.Message
	}
	hello := packet{kind: connect, namespace: s.namespace}
	if s.client.conn.Revision() == 4 {
		hello.data = append(appendString([]byte(`{"sid":`), s.id), '}')
	}
	s.out = append(s.out, engine.Text(appendPacket(nil, hello)))
	if s.client.gateway.speaks(vocabularyPair) {
		s.emit("welcome", args{json: append(appendString([]byte(`{"message":"Welcome!","id":`), s.id), '}')})
	}
	s.post()
	return ""
}

// enter makes the socket a listener of its lobby, of whom nobody hears.
func (s *socket) enter() *signaling.Error {
	return s.become(signaling.Hello{
		Tenant: s.lobby(), Crowd: true, Nameless: true, Claims: s.client.claims,
		Join: signaling.Message{Type: signaling.TypeJoin, Room: s.client.room, Quiet: true},
	})
}

// reenter makes a socket that has been away from its lobby a listener again. It says
// whether it is one.
func (s *socket) reenter(event string) bool {
	if s.session != nil {
		return true
	}
	err := s.enter()
	if err != nil {
		s.refuse(event, err)
	}
	return err == nil
}

// lobby is the tenant of the vocabularies that need no name of a room.
func (s *socket) lobby() string { return "lobby:" + s.namespace + "#" + s.client.room }

// become ends the socket's membership and begins another.
func (s *socket) become(hello signaling.Hello) *signaling.Error {
	s.leave()
	hello.Dialect, hello.Address = "socketio", s.client.conn.Address()
	s.seat = &seat{socket: s}
	session, err := s.client.gateway.hub.Open(hello, s.seat)
	if err != nil {
		s.seat = nil
		var refusal *signaling.Error
		if !errors.As(err, &refusal) {
			refusal = &signaling.Error{Code: signaling.CodeInternal, Message: "internal error"}
		}
		return refusal
	}
	s.session = session
	return nil
}

// leave ends the socket's membership.
func (s *socket) leave() {
	if s.session != nil {
		s.session.End()
	}
	s.session, s.seat = nil, nil
}

// retire leaves the lobby of a socket that has said nothing.
func (s *socket) retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.words == (unpinned{}) {
		s.leave()
	}
}

// close is the end of the namespace.
func (s *socket) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.leave()
}

// take carries out an event of the client.
func (s *socket) take(e *input) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words.take(s, e)
	s.post()
}

// post sends what was emitted without waiting.
func (s *socket) post() {
	out := s.out
	s.out = nil
	if len(out) > 0 {
		s.client.conn.Post(out...)
	}
	s.part()
}

// part disconnects a socket that has been told goodbye.
func (s *socket) part() {
	if s.goodbye {
		s.goodbye = false
		s.disconnect()
	}
}

// disconnect says 41 and ends the connection.
func (s *socket) disconnect() {
	s.client.conn.Post(engine.Text(appendPacket(nil, packet{kind: disconnect, namespace: s.namespace})))
	s.client.conn.Close()
}

// emit sends an event to the client.
func (s *socket) emit(name string, a args) {
	s.out = append(s.out, a.messages(event, s.namespace, "", name)...)
}

// refuse tells the client what its vocabulary has no word for.
func (s *socket) refuse(event string, err *signaling.Error) {
	b := appendString([]byte(`{"event":`), event)
	b = appendString(append(b, `,"code":`...), err.Code)
	b = appendString(append(b, `,"message":`...), err.Message)
	s.emit("refused", args{json: append(b, '}')})
}

// say carries a message to the hub, if the socket is a member of anything.
func (s *socket) say(m signaling.Message) {
	if s.session != nil {
		s.session.Apply(m)
	}
}

// seat is a socket's transport for one membership. What comes for one that is over
// is dropped.
type seat struct{ socket *socket }

// Send implements signaling.Transport. It waits while the client is slow, so that the
// hub's queue fills and its rule applies.
func (t *seat) Send(batch []signaling.Frame) error {
	s := t.socket
	s.mu.Lock()
	for _, f := range batch {
		if s.seat == t {
			s.words.hear(s, f.Event)
		}
	}
	out := s.out
	s.out = nil
	s.mu.Unlock()
	if len(out) > 0 {
		if err := s.client.conn.Send(out...); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.part()
	return nil
}

// Close implements signaling.Transport. Who is put out is told so; who is too slow, or
// here when the server goes down, just loses the connection and may come back.
func (t *seat) Close(code int, _ string) {
	s := t.socket
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seat != t || s.closed {
		return
	}
	switch code {
	case signaling.CloseForbidden, signaling.CloseUnauthorized, signaling.CloseNormal:
		s.disconnect()
	default:
		s.client.conn.Close()
	}
}
