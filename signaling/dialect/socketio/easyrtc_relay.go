package socketio

import (
	"encoding/json"
	"strconv"
	"time"

	"rtcd/signaling"
)

// signal hands what WebRTC needs to the target.
func (v *easyrtc) signal(r *request) string {
	needsData := r.kind != "reject" && r.kind != "hangup"
	to := word(r.msg["targetEasyrtcid"])
	switch {
	case needsData && len(r.data) == 0, !needsData && r.msg["msgData"] != nil:
		return badData
	case !easyName.MatchString(to):
		return badStructure
	}
	v.relay(r, signaling.Message{
		Type: signaling.TypeSignal, To: to, Kind: r.kind,
		Data: r.with(object([]string{"msgType", "msgData"}, r.msg)).pack(),
	})
	return ""
}

// message hands an application's message to one other or to a room.
func (v *easyrtc) message(r *request) string {
	id, room, group := r.msg["targetEasyrtcid"], r.msg["targetRoom"], r.msg["targetGroup"]
	to := word(id)
	inside := v.rooms[word(room)]
	switch {
	case r.kind == "":
		return badType
	case id != nil && (!easyName.MatchString(to) || to == r.socket.session.Peer()):
		return "MSG_REJECT_TARGET_EASYRTCID"
	case group != nil && (room == nil || id != nil || !easyName.MatchString(word(group))):
		return "MSG_REJECT_TARGET_GROUP"
	case room != nil && (inside == nil || id != nil && !inside.others[to]):
		return "MSG_REJECT_TARGET_ROOM"
	case group != nil: // whoever of the room is in it: nobody
		r.reply("ack", nil)
		return ""
	case id == nil && room == nil:
		return badType
	case id == nil:
		to = "#" + word(room)
	}
	v.relay(r, signaling.Message{
		Type: signaling.TypeMessage, To: to, Event: r.name,
		Data: r.with(object([]string{"targetEasyrtcid", "targetRoom", "msgType", "msgData"}, r.msg)).pack(),
	})
	return ""
}

// relay has the hub carry a message and answers whether it did.
func (v *easyrtc) relay(r *request, m signaling.Message) {
	v.ask(r.socket, m, func(e *signaling.Event) {
		switch {
		case e.Type != signaling.TypeError:
			r.reply("ack", nil)
		case e.Code == signaling.CodeAbsent:
			r.fail("MSG_REJECT_TARGET_EASYRTCID")
		case e.Code == signaling.CodeForbidden:
			r.fail(noAuth)
		case e.Code == signaling.CodeNoRoom:
			r.fail("MSG_REJECT_TARGET_ROOM")
		default:
			r.fail("MSG_REJECT_GEN_FAIL")
		}
	})
}

// deliver tells the client what another one sent: the message as it came, with the
// sender, which is the hub's word, the receiver and the time.
func deliver(s *socket, event string, e *signaling.Event) {
	a := unpack(e.Data)
	if len(a.json) < 2 {
		return
	}
	b := appendString([]byte(`{"senderEasyrtcid":`), e.From)
	b = append(append(b, ','), a.json[1:len(a.json)-1]...)
	b = appendString(append(b, `,"easyrtcid":`...), s.session.Peer())
	b = strconv.AppendInt(append(b, `,"serverTime":`...), time.Now().UnixMilli(), 10)
	s.emit(event, args{json: append(b, '}'), attachments: a.attachments})
}

// tellClient sends a command of the server's own.
func tellClient(s *socket, kind string, d data) {
	s.emit("easyrtcCmd", args{json: encode(data{
		"msgType": kind, "msgData": d, "easyrtcid": s.session.Peer(), "serverTime": time.Now().UnixMilli(),
	})})
}

// reply answers a request.
func (r *request) reply(kind string, d data) {
	answer := data{"msgType": kind}
	if d != nil {
		answer["msgData"] = d
	}
	r.answer(answer)
}

// fail answers a request with one of easyrtc's errors.
func (r *request) fail(code string) {
	r.answer(data{"msgType": "error", "serverTime": time.Now().UnixMilli(), "msgData": data{
		"errorCode": code, "errorText": easyErrors[code],
	}})
}

func (r *request) answer(d data) {
	s := r.socket
	s.out = append(s.out, args{json: encode(d)}.messages(ack, s.namespace, r.id, "")...)
}

// data is a JSON object in the making.
type data map[string]any

// encode makes JSON of what always can be: data of strings, numbers and valid JSON.
func encode(d data) json.RawMessage {
	b, err := json.Marshal(d)
	if err != nil {
		return json.RawMessage("{}")
	}
	return b
}
