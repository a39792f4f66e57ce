package socketio

import "rtcd/signaling"

// pair is the vocabulary of a web page and a phone app of one user:
//
//	register {uid, type}      type 0 web, 1 app; both there → the app: syncfrom
//	syncto data               → the web end
//	export exception message ctrlSendSpeed → the other end, as it is
//	transfile {size, name, …} → the other end: transfile {size, name}
//	ipaddr                    → the asker: ipaddr "a.b.c.d" for each address of the server
//	an end goes               → the other end: byebye
//
// The hub's room is the uid, its roles are the ends. A second web of one uid
// replaces the first, which hears byebye and is cut off. To register under another
// uid leaves the first pair. What is for an end that is not there is dropped.
type pair struct {
	uid, role string // "" until registered
	other     bool   // is the other end there?
}

const (
	roleWeb = "web"
	roleApp = "app"
)

func opposite(role string) string {
	if role == roleWeb {
		return roleApp
	}
	return roleWeb
}

func (v *pair) take(s *socket, e *input) {
	switch e.name {
	case "register":
		v.register(s, e)
	case "ipaddr":
		v.addresses(s)
	case "syncto":
		v.say(s, roleWeb, e.name, e.all())
	case "export", "exception", "message", "ctrlSendSpeed":
		v.say(s, opposite(v.role), e.name, e.all())
	case "transfile":
		f := fields(e.arg(0))
		if f == nil {
			return
		}
		v.say(s, opposite(v.role), e.name, e.with(object([]string{"size", "name"}, f)))
	}
}

// say sends an event to an end of the pair.
func (v *pair) say(s *socket, role, event string, a args) {
	if v.uid != "" {
		s.say(signaling.Message{
			Type: signaling.TypeMessage, To: "#" + v.uid + "/" + role, Event: event, Data: a.pack(),
		})
	}
}

func (v *pair) register(s *socket, e *input) {
	f := fields(e.arg(0))
	uid, ok := name(f["uid"])
	kind, _ := text(f["type"])
	role := map[string]string{"0": roleWeb, "1": roleApp}[kind]
	if !ok || role == "" {
		s.refuse(e.name, &signaling.Error{Code: signaling.CodeBadField, Message: "uid or type is missing"})
		return
	}
	if uid == v.uid && role == v.role {
		v.greet(s)
		return
	}
	*v = pair{}
	err := s.become(signaling.Hello{
		Tenant: "pair:" + s.namespace, User: uid, Claims: s.client.claims,
		Join: signaling.Message{Type: signaling.TypeJoin, Room: uid, Role: role, Replace: true},
	})
	if err != nil {
		s.refuse(e.name, err)
		return
	}
	v.uid, v.role = uid, role
}

// greet tells the app that both ends are there.
func (v *pair) greet(s *socket) {
	switch {
	case !v.other:
	case v.role == roleApp:
		s.emit("syncfrom", args{})
	default:
		v.say(s, roleApp, "syncfrom", args{})
	}
}

func (v *pair) addresses(s *socket) {
	o := &s.client.gateway.o
	if o.Addresses == nil || v.uid == "" && !o.Open {
		return
	}
	for _, a := range o.Addresses() {
		if a = a.Unmap(); a.Is4() && !a.IsLoopback() {
			s.emit("ipaddr", args{json: appendString(nil, a.String())})
		}
	}
}

func (v *pair) hear(s *socket, e *signaling.Event) {
	switch e.Type {
	case signaling.TypeWelcome:
		for _, p := range e.Welcome.Rooms[0].Peers {
			v.other = v.other || p.Role == opposite(v.role)
		}
		if v.role == roleApp {
			v.greet(s)
		}
	case signaling.TypePeer:
		v.presence(s, e)
	case signaling.TypeMessage:
		s.emit(e.Name, unpack(e.Data))
	}
}

func (v *pair) presence(s *socket, e *signaling.Event) {
	switch {
	case e.Name == signaling.EventLeave && e.Peer == s.session.Peer(): // replaced, or kicked
		s.emit("byebye", args{})
		s.goodbye = true
	case e.Role != opposite(v.role):
	case e.Name == signaling.EventJoin:
		v.other = true
		if v.role == roleApp {
			v.greet(s)
		}
	case e.Name == signaling.EventLeave && e.Reason != signaling.ReasonReplaced: // else another takes its place
		v.other = false
		s.emit("byebye", args{})
	}
}
