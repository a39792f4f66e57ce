package ywebrtc

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"sync"

	"rtcd/signaling"
	"rtcd/signaling/dialect/rawjson"
	"rtcd/signaling/dialect/textsocket"
)

// Subscriber is the part of a socket that has subscribed.
type Subscriber struct {
	hub    *signaling.Hub
	hello  signaling.Hello
	socket *textsocket.Socket

	mu      sync.Mutex         // guards the following
	session *signaling.Session // nil until the first subscribe
	seat    *textsocket.Seat
	others  map[string]int // by topic: how many others are there
}

// New returns a subscriber to nothing. With its first topic it becomes a member as hello
// says.
func New(hub *signaling.Hub, hello signaling.Hello, socket *textsocket.Socket) *Subscriber {
	return &Subscriber{hub: hub, hello: hello, socket: socket}
}

// Receive takes a message of the client, whose type is verb. It returns false for
// those that are not of y-webrtc.
func (s *Subscriber) Receive(verb string, m map[string]json.RawMessage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch verb {
	case "subscribe":
		s.each(m["topics"], s.subscribe)
	case "unsubscribe":
		s.each(m["topics"], s.unsubscribe)
	case "publish":
		s.publish(m)
	case "ping":
		s.socket.Post([]byte(`{"type":"pong"}`))
	default:
		return false
	}
	return true
}

// End is the end of all subscriptions.
func (s *Subscriber) End() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != nil {
		s.seat.LeaveLocked()
		s.session.End()
		s.session, s.seat, s.others = nil, nil, nil
	}
}

// each does something with every name in a list. What is none is passed over.
func (s *Subscriber) each(topics json.RawMessage, do func(topic string)) {
	var list []json.RawMessage
	if json.Unmarshal(topics, &list) != nil {
		return
	}
	for _, v := range list {
		if topic, ok := rawjson.Text(v); ok && rawjson.IsName(topic) {
			do(topic)
		}
	}
}

func (s *Subscriber) subscribe(topic string) {
	if s.session == nil && !s.enter() {
		return
	}
	if _, member := s.others[topic]; !member {
		s.others[topic] = 0 // until joined says how many
	}
	s.session.Apply(signaling.Message{Type: signaling.TypeJoin, Room: topic})
}

// enter makes a member. Who may not be one loses the socket.
func (s *Subscriber) enter() bool {
	seat := textsocket.NewSeat(s.socket, &s.mu, s.hear)
	session, err := s.hub.Open(s.hello, seat)
	if err != nil {
		s.socket.Close(signaling.CloseForbidden, err.Error())
		return false
	}
	s.session, s.seat, s.others = session, seat, map[string]int{}
	return true
}

func (s *Subscriber) unsubscribe(topic string) {
	if _, member := s.others[topic]; member {
		delete(s.others, topic)
		s.session.Apply(signaling.Message{Type: signaling.TypeLeave, Room: topic})
	}
}

// publish brings a message to all who subscribed.
func (s *Subscriber) publish(m map[string]json.RawMessage) {
	topic, ok := rawjson.Text(m["topic"])
	if !ok || s.session == nil {
		return
	}
	s.session.Apply(signaling.Message{
		Type: signaling.TypeMessage, To: "#" + topic, Event: topic, Data: publication(m), Echo: true,
	})
}

// publication is a message but for the number of clients and the last bracket, which
// wordPublication adds for each receiver.
func publication(m map[string]json.RawMessage) json.RawMessage {
	b := []byte{'{'}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if key != "clients" {
			b = append(append(append(rawjson.AppendText(b, key), ':'), m[key]...), ',')
		}
	}
	return append(b, `"clients":`...)
}

func wordPublication(p json.RawMessage, clients int) []byte {
	return append(strconv.AppendInt(slices.Clone([]byte(p)), int64(clients), 10), '}')
}

// hear words what the hub says.
func (s *Subscriber) hear(e *signaling.Event) [][]byte {
	switch e.Type {
	case signaling.TypeJoined:
		if _, member := s.others[e.Room]; member {
			s.others[e.Room] = len(e.Peers)
		}
	case signaling.TypePeer:
		if n, member := s.others[e.Room]; member {
			switch e.Name {
			case signaling.EventJoin:
				s.others[e.Room] = n + 1
			case signaling.EventLeave:
				s.others[e.Room] = n - 1
			}
		}
	case signaling.TypeMessage:
		if n, member := s.others[e.Name]; member {
			return [][]byte{wordPublication(e.Data, n+1)}
		}
	}
	return nil
}
