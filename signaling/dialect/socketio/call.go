package socketio

import (
	"encoding/json"

	"rtcd/signaling"
)

// call is the vocabulary of hand-written calls, in which everyone in a lobby hears
// everyone else:
//
//	offer string, _ice_candidate string      → the others, as it is
//	answer string of {type, data: {sdp}}     → the others: answer {message: sdp}
type call struct{}

func (call) take(s *socket, e *input) {
	if !s.reenter(e.name) {
		return
	}
	data := e.arg(0)
	var inner string
	if json.Unmarshal(data, &inner) != nil || data[0] != '"' {
		return
	}
	switch e.name {
	case "offer", "_ice_candidate":
	case "answer":
		sdp := fields(fields(json.RawMessage(inner))["data"])["sdp"]
		if sdp == nil {
			return
		}
		data = append(append([]byte(`{"message":`), sdp...), '}')
	default:
		return
	}
	s.say(signaling.Message{
		Type: signaling.TypeSignal, To: "#" + s.client.room, Kind: e.name, Data: args{json: data}.pack(),
	})
}

func (call) hear(s *socket, e *signaling.Event) {
	if e.Type == signaling.TypeSignal && e.Room != "" {
		s.emit(e.Kind, unpack(e.Data))
	}
}
