package socketio

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"rtcd/signaling"
)

// easyRoom is a room as somebody in it sees it.
type easyRoom struct {
	joined int64           // milliseconds
	field  json.RawMessage // its own fields, which the others see; nil: none
	others map[string]bool
}

// occupant is what others know of somebody in a room. All but the id and the name is
// the presence data of the seat.
type occupant struct {
	ID       string          `json:"easyrtcid,omitempty"`
	User     string          `json:"username,omitempty"`
	Joined   int64           `json:"roomJoinTime"`
	Presence presence        `json:"presence"`
	Field    json.RawMessage `json:"apiField,omitempty"`
}

// presence is whether somebody wants to talk.
type presence struct {
	Show   string          `json:"show"`
	Status *string         `json:"status"`
	Type   json.RawMessage `json:"type,omitempty"`
}

// set changes what raw has, or refuses it.
func (p *presence) set(raw json.RawMessage) string {
	f := fields(raw)
	if len(f) == 0 {
		return badStructure
	}
	changed := *p
	if show := f["show"]; show != nil {
		if changed.Show = word(show); !presenceShow.MatchString(changed.Show) {
			return badStructure
		}
	}
	if raw := f["status"]; raw != nil {
		status := word(raw)
		if raw[0] != '"' || !presenceStatus.MatchString(status) {
			return badStructure
		}
		changed.Status = &status
	}
	if kind := f["type"]; kind != nil {
		changed.Type = kind
	}
	*p = changed
	return ""
}

// seat is the presence data of the client in a room.
func (v *easyrtc) seat(room *easyRoom) json.RawMessage {
	b, err := json.Marshal(occupant{Joined: room.joined, Presence: v.presence, Field: room.field})
	if err != nil {
		return nil
	}
	return b
}

func occupantOf(peer, user string, seat json.RawMessage) occupant {
	var o occupant
	if json.Unmarshal(seat, &o) != nil {
		o = occupant{Presence: presence{Show: "chat"}}
	}
	o.ID, o.User = peer, user
	return o
}

// me is the client as the others in a room see it.
func (v *easyrtc) me(s *socket, room *easyRoom) occupant {
	return occupantOf(s.session.Peer(), v.user, v.seat(room))
}

func (v *easyrtc) join(r *request) string {
	names := keys(r.data["roomJoin"])
	switch {
	case r.data == nil:
		return badData
	case len(names) == 0, !roomsFit(r.data["roomJoin"]):
		return badStructure
	}
	v.enter(r.socket, names, func(rooms data, ice *signaling.ICEServers, refusal string) {
		if ice != nil { // the first room again: the credentials of before were taken back
			tellClient(r.socket, "iceConfig", data{"iceConfig": iceConfig(ice)})
		}
		if refusal != "" {
			r.fail("MSG_REJECT_BAD_ROOM")
			return
		}
		r.reply("roomData", data{"roomData": rooms})
	})
	return ""
}

// enter joins rooms. Then it calls told with those that were entered, with credentials
// if the first of them came with some, and with the hub's code for one of the others.
func (v *easyrtc) enter(s *socket, names []string, told func(rooms data, ice *signaling.ICEServers, refusal string)) {
	joins := make([]signaling.Message, len(names))
	entered := make([]*easyRoom, len(names))
	for i, name := range names {
		if entered[i] = v.rooms[name]; entered[i] == nil {
			entered[i] = &easyRoom{joined: time.Now().UnixMilli(), others: map[string]bool{}}
		}
		joins[i] = signaling.Message{Type: signaling.TypeJoin, Room: name, Data: v.seat(entered[i])}
	}
	v.moving++
	v.askAll(s, joins, func(answers []*signaling.Event) {
		rooms, refusal := data{}, ""
		var ice *signaling.ICEServers
		for i, e := range answers {
			if e.Type == signaling.TypeError {
				refusal = e.Code
				continue
			}
			if e.ICE != nil {
				ice = e.ICE
			}
			v.rooms[e.Room] = entered[i]
			rooms[e.Room] = data{"roomName": e.Room, "roomStatus": "join", "clientList": v.occupants(s, e)}
		}
		told(rooms, ice, refusal)
		if v.moving--; v.moving > 0 {
			return
		}
		for _, e := range v.early {
			v.tell(s, e)
		}
		v.early = nil
	})
}

// occupants lists who is in a room that was entered, and remembers them.
func (v *easyrtc) occupants(s *socket, joined *signaling.Event) data {
	room := v.rooms[joined.Room]
	all := data{s.session.Peer(): v.me(s, room)}
	for _, p := range joined.Peers {
		room.others[p.Peer] = true
		all[p.Peer] = occupantOf(p.Peer, p.User, p.Data)
	}
	return all
}

func (v *easyrtc) leave(r *request) string {
	names := keys(r.data["roomLeave"])
	switch {
	case r.data == nil:
		return badData
	case fields(r.data["roomLeave"]) == nil, !roomsFit(r.data["roomLeave"]):
		return badStructure
	}
	var leaves []signaling.Message
	rooms := data{}
	for _, name := range names {
		if v.rooms[name] != nil {
			leaves = append(leaves, signaling.Message{Type: signaling.TypeLeave, Room: name})
		}
		delete(v.rooms, name)
		rooms[name] = data{"roomName": name, "roomStatus": "leave"}
	}
	v.askAll(r.socket, leaves, func([]*signaling.Event) { r.reply("roomData", data{"roomData": rooms}) })
	return ""
}

func (v *easyrtc) setPresence(r *request) string {
	if r.data == nil {
		return badData
	}
	before := v.presence
	if refused := v.presence.set(r.data["setPresence"]); refused != "" {
		return refused
	}
	v.update(r, slices.Sorted(maps.Keys(v.rooms)), func() string {
		v.presence = before
		return "MSG_REJECT_PRESENCE"
	})
	return ""
}

func (v *easyrtc) setField(r *request) string {
	f := fields(r.data["setRoomApiField"])
	name, field := word(f["roomName"]), f["field"]
	room := v.rooms[name]
	switch {
	case r.data == nil:
		return badData
	case len(f) == 0, field != nil && fields(field) == nil:
		return badStructure
	case room == nil:
		return "MSG_REJECT_BAD_ROOM"
	}
	if len(fields(field)) == 0 {
		field = nil
	}
	before := room.field
	room.field = field
	v.update(r, []string{name}, func() string {
		room.field = before
		return "MSG_REJECT_BAD_SIZE"
	})
	return ""
}

// update tells rooms what has changed, and the client what they were told. If the hub
// refuses, undo takes the change back and names the error.
func (v *easyrtc) update(r *request, names []string, undo func() string) {
	updates := make([]signaling.Message, len(names))
	rooms := data{}
	for i, name := range names {
		updates[i] = signaling.Message{Type: signaling.TypeUpdate, Room: name, Data: v.seat(v.rooms[name])}
		rooms[name] = updated(name, v.me(r.socket, v.rooms[name]))
	}
	v.askAll(r.socket, updates, func(answers []*signaling.Event) {
		for _, e := range answers {
			if e.Type == signaling.TypeError {
				r.fail(undo())
				return
			}
		}
		r.reply("roomData", data{"roomData": rooms})
	})
}

// change tells the client of somebody who comes, goes or changes, or that it was put
// out itself.
func (v *easyrtc) change(s *socket, e *signaling.Event) {
	room := v.rooms[e.Room]
	if room == nil {
		return
	}
	var news data
	switch {
	case e.Name == signaling.EventLeave && e.Peer == s.session.Peer():
		delete(v.rooms, e.Room)
		news = data{"roomName": e.Room, "roomStatus": "leave"}
	case e.Name == signaling.EventLeave:
		delete(room.others, e.Peer)
		gone := data{e.Peer: data{"easyrtcid": e.Peer}}
		news = data{"roomName": e.Room, "roomStatus": "update", "clientListDelta": data{"removeClient": gone}}
	case e.Name == signaling.EventJoin, e.Name == signaling.EventUpdate:
		room.others[e.Peer] = true
		news = updated(e.Room, occupantOf(e.Peer, e.User, e.Data))
	default:
		return
	}
	tellClient(s, "roomData", data{"roomData": data{e.Room: news}})
}

// updated is the news of one occupant of a room.
func updated(room string, o occupant) data {
	return data{
		"roomName": room, "roomStatus": "update",
		"clientListDelta": data{"updateClient": data{o.ID: o}},
	}
}

func (v *easyrtc) listRooms(r *request) string {
	if r.msg["msgData"] != nil {
		return badData
	}
	rooms := data{}
	for name, n := range r.socket.session.Rooms() {
		rooms[name] = data{"roomName": name, "numberClients": n}
	}
	r.reply("roomList", data{"roomList": rooms})
	return ""
}
