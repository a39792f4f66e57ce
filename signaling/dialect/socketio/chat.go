package socketio

import (
	"encoding/json"

	"rtcd/signaling"
)

// chat is the vocabulary of a chat room whose members call each other by name:
//
//	join userId                               → everyone, the joiner too: user-joined userId
//	offer|answer|candidate {targetUserId, …}  → the target: the event with its value, {from}
//	chat-message text                         → everyone: chat-message {message: text}
//	the end of one who joined                 → everyone: user-left userId
//
// Names are unique in a lobby; a name that is taken is refused. To join again under
// another name gives the first one back. An event for somebody who is not there is
// dropped. Who has not joined hears the room and may speak to it.
type chat struct {
	user string // "" until joined
}

func (v *chat) take(s *socket, e *input) {
	if !s.reenter(e.name) {
		return
	}
	switch e.name {
	case "join":
		v.join(s, e)
	case "chat-message":
		b := append([]byte(`{"message":`), e.arg(0)...)
		s.say(signaling.Message{
			Type: signaling.TypeMessage, To: "#" + s.client.room, Event: e.name, Echo: true,
			Data: e.with(append(b, '}')).pack(),
		})
	case "offer", "answer", "candidate":
		f := fields(e.arg(0))
		target, ok := name(f["targetUserId"])
		if value := f[e.name]; ok && value != nil {
			s.say(signaling.Message{
				Type: signaling.TypeSignal, To: "@" + target, Kind: e.name, Data: e.with(value).pack(),
			})
		}
	}
}

func (v *chat) join(s *socket, e *input) {
	user, ok := name(e.arg(0))
	if !ok {
		s.refuse(e.name, &signaling.Error{Code: signaling.CodeBadField, Message: "not a name"})
		return
	}
	if user == v.user {
		return
	}
	if err := s.session.Rename(user, true); err != nil {
		s.refuse(e.name, err)
		return
	}
	if v.user == "" {
		s.say(signaling.Message{Type: signaling.TypeJoin, Room: s.client.room})
	}
	v.user = user
	s.emit("user-joined", args{json: appendString(nil, user)})
}

func (v *chat) hear(s *socket, e *signaling.Event) {
	switch e.Type {
	case signaling.TypePeer:
		switch e.Name {
		case signaling.EventJoin:
			s.emit("user-joined", args{json: appendString(nil, e.User)})
		case signaling.EventLeave:
			s.emit("user-left", args{json: appendString(nil, e.User)})
		}
	case signaling.TypeMessage:
		s.emit(e.Name, unpack(e.Data))
	case signaling.TypeSignal:
		if e.Room == "" { // to me: those to the room are of another vocabulary
			a := unpack(e.Data)
			a.json = append(append(json.RawMessage(nil), a.json...), `,{"from":`...)
			a.json = append(appendString(a.json, e.User), '}')
			s.emit(e.Kind, a)
		}
	}
}
