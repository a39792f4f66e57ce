package socketio

import (
	"encoding/json"
	"maps"
	"slices"

	"rtcd/signaling"
)

// p2p is the vocabulary of socket.io-p2p, a room chat that moves to data channels:
//
//	room {username, room}         → the newcomer: numClients N, the others in the room
//	offers {offers: [{offerId, offer}…]} → the i-th of those others: the i-th as
//	                                 offer {fromPeerId, offerId, offer}
//	peer-signal {toPeerId, …}     → that member, as it is but for fromPeerId
//	any other event               → the rest of the room: what clients without WebRTC, or
//	                                 before it is up, have to say
//	one leaves                    → the rest: peer-disconnect {peerId}
//
// Peer ids are Engine.IO's, in all revisions, because the library takes them from
// there; the hub knows them as presence data. fromPeerId is always the server's. To
// enter a room twice just repeats numClients; to enter another one leaves the first.
type p2p struct {
	room   string // "" until entered
	others []other
	met    []other // those who were there when the client was told how many
}

// other is a member of the room.
type other struct{ peer, sid string }

func (v *p2p) take(s *socket, e *input) {
	switch e.name {
	case "room":
		v.enter(s, e)
	case "offers":
		v.offer(s, e)
	case "peer-signal":
		f := fields(e.arg(0))
		to, _ := text(f["toPeerId"])
		i := slices.IndexFunc(v.others, func(o other) bool { return o.sid == to })
		if i < 0 {
			return
		}
		f["fromPeerId"] = v.sid(s)
		s.say(signaling.Message{
			Type: signaling.TypeSignal, To: v.others[i].peer, Kind: e.name,
			Data: e.with(object(slices.Sorted(maps.Keys(f)), f)).pack(),
		})
	default:
		if v.room != "" && !reserved[e.name] {
			s.say(signaling.Message{
				Type: signaling.TypeMessage, To: "#" + v.room, Event: e.name, Data: e.all().pack(),
			})
		}
	}
}

// reserved are the events that only a server or a library may send.
var reserved = map[string]bool{
	"numClients": true, "offer": true, "peer-disconnect": true, "refused": true,
	"connect": true, "connect_error": true, "connect_timeout": true, "connecting": true,
	"disconnect": true, "disconnecting": true, "error": true, "newListener": true, "removeListener": true,
	"ping": true, "pong": true, "reconnect": true, "reconnect_attempt": true, "reconnect_error": true,
	"reconnect_failed": true, "reconnecting": true,
}

func (v *p2p) sid(s *socket) json.RawMessage { return appendString(nil, s.client.conn.ID()) }

func (v *p2p) enter(s *socket, e *input) {
	f := fields(e.arg(0))
	room, ok := name(f["room"])
	if _, given := f["room"]; !given {
		room, ok = s.client.room, true
	}
	if !ok {
		s.refuse(e.name, &signaling.Error{Code: signaling.CodeBadField, Message: "not a name of a room"})
		return
	}
	if room == v.room && s.session != nil {
		v.count(s, v.others)
		return
	}
	*v = p2p{}
	user, _ := name(f["username"])
	err := s.become(signaling.Hello{
		Tenant: "p2p:" + s.namespace, User: user, Data: v.sid(s), Claims: s.client.claims,
		Join: signaling.Message{Type: signaling.TypeJoin, Room: room},
	})
	if err != nil {
		s.refuse(e.name, err)
		return
	}
	v.room = room
}

// count tells the client how many offers to make, and remembers for whom.
func (v *p2p) count(s *socket, others []other) {
	v.met = slices.Clone(others)
	s.emit("numClients", args{json: appendInt(len(others))})
}

// offer hands each of those met one offer.
func (v *p2p) offer(s *socket, e *input) {
	var offers []json.RawMessage
	if json.Unmarshal(fields(e.arg(0))["offers"], &offers) != nil {
		return
	}
	for i := range min(len(offers), len(v.met)) {
		f := fields(offers[i])
		if f["offer"] == nil || f["offerId"] == nil {
			continue
		}
		f["fromPeerId"] = v.sid(s)
		s.say(signaling.Message{
			Type: signaling.TypeSignal, To: v.met[i].peer, Kind: "offer",
			Data: args{json: object([]string{"fromPeerId", "offerId", "offer"}, f)}.pack(),
		})
	}
}

func (v *p2p) hear(s *socket, e *signaling.Event) {
	switch e.Type {
	case signaling.TypeWelcome:
		for _, p := range e.Welcome.Rooms[0].Peers {
			v.add(p.Peer, p.Data)
		}
		v.count(s, v.others)
	case signaling.TypePeer:
		switch e.Name {
		case signaling.EventJoin:
			v.add(e.Peer, e.Data)
		case signaling.EventLeave:
			v.remove(s, e.Peer)
		}
	case signaling.TypeSignal:
		s.emit(e.Kind, unpack(e.Data))
	case signaling.TypeMessage:
		s.emit(e.Name, unpack(e.Data))
	}
}

func (v *p2p) add(peer string, data json.RawMessage) {
	if sid, ok := text(data); ok {
		v.others = append(v.others, other{peer, sid})
	}
}

func (v *p2p) remove(s *socket, peer string) {
	i := slices.IndexFunc(v.others, func(o other) bool { return o.peer == peer })
	if i < 0 {
		return
	}
	s.emit("peer-disconnect", args{json: object([]string{"peerId"}, map[string]json.RawMessage{
		"peerId": appendString(nil, v.others[i].sid),
	})})
	v.others = slices.Delete(v.others, i, i+1)
}
