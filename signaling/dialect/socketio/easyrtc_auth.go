package socketio

import (
	"cmp"
	"time"

	"rtcd/signaling"
)

// authenticate makes the socket a member, in the rooms that it asks for. Who does so
// again becomes another member.
func (v *easyrtc) authenticate(r *request) {
	s := r.socket
	if r.id == "" {
		s.goodbye = true
		return
	}
	*v = easyrtc{asked: map[string]func(*signaling.Event){}, rooms: map[string]*easyRoom{}}
	if refused := v.checkAuth(r); refused != "" {
		r.dismiss(refused)
		return
	}
	err := s.become(signaling.Hello{
		Tenant: "easyrtc:" + s.namespace + "#" + v.app, Direct: s.client.gateway.o.Open,
		User: word(r.data["username"]), Claims: s.client.claims,
	})
	if err != nil {
		if err.Code == signaling.CodeForbidden {
			r.dismiss("BANNED_IP_ADDR")
		} else {
			r.dismiss("LOGIN_GEN_FAIL")
		}
		return
	}
	names := keys(r.data["roomJoin"])
	if len(names) == 0 {
		names = []string{s.defaultRoom()}
	}
	v.enter(s, names, func(rooms data, ice *signaling.ICEServers, refusal string) {
		switch refusal {
		case "":
			r.reply("token", v.token(r, rooms, ice))
		case signaling.CodeForbidden, signaling.CodeUnauthorized:
			r.dismiss("LOGIN_BAD_ROOM")
		default:
			r.dismiss("LOGIN_GEN_FAIL")
		}
	})
}

// token is what one who has authenticated gets to know.
func (v *easyrtc) token(r *request, rooms data, ice *signaling.ICEServers) data {
	d := data{
		"easyrtcid":   r.socket.session.Peer(),
		"application": data{"applicationName": v.app},
		"iceConfig":   iceConfig(ice),
		"roomData":    rooms,
		"serverTime":  time.Now().UnixMilli(),
	}
	if session := r.data["easyrtcsid"]; session != nil {
		d["sessionData"] = data{"easyrtcsid": session}
	}
	return d
}

// checkAuth takes what is the socket's own from the message, or refuses it.
func (v *easyrtc) checkAuth(r *request) string {
	d := r.data
	switch {
	case r.kind != "authenticate":
		return "LOGIN_BAD_AUTH"
	case d["apiVersion"] == nil, d["roomJoin"] != nil && fields(d["roomJoin"]) == nil:
		return "LOGIN_BAD_STRUCTURE"
	case !versionName.MatchString(word(d["apiVersion"])),
		d["applicationName"] != nil && !easyName.MatchString(word(d["applicationName"])),
		d["easyrtcsid"] != nil && !sessionName.MatchString(word(d["easyrtcsid"])),
		d["username"] != nil && !(userName.MatchString(word(d["username"])) && validName(word(d["username"]))),
		d["credential"] != nil && len(fields(d["credential"])) == 0,
		!roomsFit(d["roomJoin"]):
		return badStructure
	}
	v.app = cmp.Or(word(d["applicationName"]), "default")
	v.presence = presence{Show: "chat"}
	if d["setPresence"] != nil {
		return v.presence.set(d["setPresence"])
	}
	return ""
}

// defaultRoom is for those who name none.
func (s *socket) defaultRoom() string {
	if easyName.MatchString(s.client.named) {
		return s.client.named
	}
	return "default"
}

// dismiss refuses a request and ends the connection.
func (r *request) dismiss(code string) {
	r.fail(code)
	r.socket.leave()
	r.socket.goodbye = true
}
