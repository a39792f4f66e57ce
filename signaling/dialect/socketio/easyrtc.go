package socketio

import (
	"encoding/json"
	"strconv"

	"rtcd/signaling"
)

// easyrtc is the vocabulary of easyrtc's client. There are three events, each a message
// {msgType, msgData, …} that is answered in its ack:
//
//	easyrtcAuth authenticate → token {easyrtcid, iceConfig, application, roomData, …}
//	easyrtcCmd  offer answer candidate reject hangup, with targetEasyrtcid → ack; the
//	                target hears it with senderEasyrtcid
//	            roomJoin roomLeave setPresence setRoomApiField → roomData
//	            getIceConfig → iceConfig   getRoomList → roomList   setUserCfg → ack
//	easyrtcMsg  any type, with targetEasyrtcid or targetRoom → ack; they hear it
//
// What cannot be done is answered by error {errorCode, errorText}, in the words of
// easyrtc's server. Of itself the server sends easyrtcCmd roomData when a room changes,
// and iceConfig when there are new credentials.
//
// An application is a tenant, an easyrtcid the hub's peer id. Who names no room enters
// the one of the address or the token, else "default". Two who share no room reach each
// other only in an open hub. Groups, to which easyrtc's server can add nobody, are
// always empty; what has no target is refused, for here is no application that would
// take it.
type easyrtc struct {
	app      string
	user     string
	presence presence
	rooms    map[string]*easyRoom // entered

	serial int
	asked  map[string]func(*signaling.Event) // what to do with the hub's answers, by id
	moving int                               // joins that have no answer yet
	early  []*signaling.Event                // heard before the client knows where it is
}

// request is an event that waits for its answer.
type request struct {
	*input
	socket *socket
	kind   string // msgType
	msg    map[string]json.RawMessage
	data   map[string]json.RawMessage // msgData; nil if that is no object
}

func (v *easyrtc) take(s *socket, e *input) {
	r := &request{input: e, socket: s, msg: fields(e.arg(0))}
	r.kind, r.data = word(r.msg["msgType"]), fields(r.msg["msgData"])
	refused := ""
	switch {
	case e.name == "easyrtcAuth":
		v.authenticate(r)
	case e.id == "": // easyrtc's server ignores who wants no answer
	case s.session == nil:
		refused = noAuth
	case r.msg == nil:
		refused = badStructure
	case e.name == "easyrtcMsg":
		refused = v.message(r)
	default:
		refused = v.command(r)
	}
	if refused != "" {
		r.fail(refused)
	}
}

// command carries out an easyrtcCmd. It returns the code of a refusal, or "" if the
// answer is given, or will be.
func (v *easyrtc) command(r *request) string {
	switch r.kind {
	case "offer", "answer", "candidate", "reject", "hangup":
		return v.signal(r)
	case "roomJoin":
		return v.join(r)
	case "roomLeave":
		return v.leave(r)
	case "setPresence":
		return v.setPresence(r)
	case "setRoomApiField":
		return v.setField(r)
	case "setUserCfg":
		return v.configure(r)
	case "getRoomList":
		return v.listRooms(r)
	case "getIceConfig":
		return v.renewICE(r)
	}
	return badType
}

// configure takes note of settings that mean nothing to the server.
func (v *easyrtc) configure(r *request) string {
	if r.data == nil {
		return badData
	}
	if len(fields(r.data["setUserCfg"])) == 0 {
		return badStructure
	}
	r.reply("ack", nil)
	return ""
}

func (v *easyrtc) renewICE(r *request) string {
	if r.msg["msgData"] != nil && (r.data == nil || len(r.data) > 0) {
		return badData
	}
	v.ask(r.socket, signaling.Message{Type: signaling.TypeICE}, func(e *signaling.Event) {
		if e.Type == signaling.TypeError { // a member of no room gets none
			r.fail(noAuth)
			return
		}
		r.reply("iceConfig", data{"iceConfig": iceConfig(e.ICE)})
	})
	return ""
}

// ask has the hub carry out m. The socket's lock is held again when its answer comes.
func (v *easyrtc) ask(s *socket, m signaling.Message, then func(answer *signaling.Event)) {
	v.serial++
	id := strconv.Itoa(v.serial)
	v.asked[id] = then
	m.ID = json.RawMessage(id)
	s.say(m)
}

// askAll is ask for several messages; the answers are in their order.
func (v *easyrtc) askAll(s *socket, all []signaling.Message, then func(answers []*signaling.Event)) {
	answers := make([]*signaling.Event, len(all))
	open := len(all)
	for i, m := range all {
		v.ask(s, m, func(e *signaling.Event) {
			answers[i] = e
			if open--; open == 0 {
				then(answers)
			}
		})
	}
	if open == 0 {
		then(nil)
	}
}

func (v *easyrtc) hear(s *socket, e *signaling.Event) {
	then := v.asked[string(e.Re)]
	switch {
	case then != nil:
		delete(v.asked, string(e.Re))
		then(e)
	case e.Type == signaling.TypeWelcome:
		v.user = e.User
	case v.moving > 0:
		v.early = append(v.early, e)
	default:
		v.tell(s, e)
	}
}

// tell passes on what the client has not asked for.
func (v *easyrtc) tell(s *socket, e *signaling.Event) {
	switch e.Type {
	case signaling.TypePeer:
		v.change(s, e)
	case signaling.TypeSignal:
		deliver(s, "easyrtcCmd", e)
	case signaling.TypeMessage:
		deliver(s, "easyrtcMsg", e)
	case signaling.TypeICE:
		tellClient(s, "iceConfig", data{"iceConfig": iceConfig(e.ICE)})
	}
}
