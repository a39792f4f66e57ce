package jsonws

import (
	"encoding/json"
	"errors"

	"rtcd/signaling"
	"rtcd/signaling/dialect/rawjson"
	"rtcd/signaling/dialect/textsocket"
)

// login is the part of a client that has a name. The client's lock guards it.
type login struct {
	session *signaling.Session // nil: not logged in
	seat    *textsocket.Seat
	name    string
	partner string // whom the end of this one concerns
}

// end says goodbye to the partner and gives the name back.
func (l *login) end() {
	if l.session == nil {
		return
	}
	if l.partner != "" {
		l.session.Apply(signaling.Message{Type: signaling.TypeSignal, To: "@" + l.partner, Kind: "leave"})
	}
	l.seat.LeaveLocked()
	l.session.End()
	*l = login{}
}

// enter logs in.
func (c *client) enter(m map[string]json.RawMessage) {
	name, ok := rawjson.Text(m["name"])
	switch {
	case !ok || !rawjson.IsName(name):
		c.refuse("login needs a name")
		return
	case c.claims.Name != "" && c.claims.Name != name:
		c.refuse("the token is for another name")
		return
	case c.login.session == nil || c.login.name != name:
		t := textsocket.NewSeat(c.socket, &c.mu, c.hear)
		hello := c.hello("json:")
		hello.Direct, hello.User, hello.Exclusive = true, name, true
		session, err := c.hub.Open(hello, t)
		var refusal *signaling.Error
		switch {
		case errors.As(err, &refusal) && refusal.Code == signaling.CodeTaken:
			c.refuse("重複登入")
			return
		case errors.As(err, &refusal):
			c.refuse(refusal.Message)
			return
		}
		c.login.end()
		c.login = login{session: session, seat: t, name: name}
	}
	c.socket.Post([]byte(`{"type":"login","success":true}`))
}

func (c *client) refuse(why string) {
	b := rawjson.AppendText([]byte(`{"type":"login","success":false,"message":`), why)
	c.socket.Post(append(b, '}'))
}

// signal calls somebody by name.
func (c *client) signal(verb string, m map[string]json.RawMessage) {
	l := &c.login
	to, ok := rawjson.Text(m["name"])
	data, there := m[verb]
	switch {
	case l.session == nil:
		c.socket.Post(wordError("Not logged in"))
		return
	case !ok || !rawjson.IsName(to) || verb != "leave" && !there:
		c.socket.Post(wordError("Incomplete: " + verb))
		return
	}
	signal := signaling.Message{Type: signaling.TypeSignal, To: "@" + to, Kind: verb, Data: data}
	switch verb {
	case "offer":
		l.partner = to
		signal.ID = json.RawMessage(`"offer"`) // its failure is told
	case "answer":
		l.partner = to
	case "leave":
		signal.Data = nil
		if l.partner == to {
			l.partner = ""
		}
	}
	l.session.Apply(signal)
}

// hear words what comes for the one who is logged in.
func (c *client) hear(e *signaling.Event) [][]byte {
	switch {
	case e.Type == signaling.TypeError && string(e.Re) == `"offer"`:
		return [][]byte{c.login.lost(e)}
	case e.Type == signaling.TypeSignal:
		return [][]byte{c.login.called(e)}
	case e.Type == signaling.TypePeer && e.Name == signaling.EventLeave && e.User != "" && e.User == c.login.partner:
		c.login.partner = "" // put out, so it could not say so itself
		return [][]byte{[]byte(`{"type":"leave"}`)}
	}
	return nil
}

// lost words that an offer has found nobody.
func (l *login) lost(e *signaling.Event) []byte {
	if e.Code != signaling.CodeAbsent {
		return wordError(e.Message)
	}
	if "@"+l.partner == e.To {
		l.partner = ""
	}
	return wordError("User not found: " + e.To[1:])
}

// called words what somebody else has sent.
func (l *login) called(e *signaling.Event) []byte {
	switch {
	case e.Kind == "leave":
		if l.partner == e.User {
			l.partner = ""
		}
		return []byte(`{"type":"leave"}`)
	case e.Kind == "offer" && l.partner == "":
		l.partner = e.User
	}
	return wordSignal(e.Kind, e.Data, e.User)
}

// wordSignal is an offer, answer or candidate as its receiver gets it.
func wordSignal(kind string, data json.RawMessage, from string) []byte {
	b := rawjson.AppendText([]byte(`{"type":`), kind)
	b = append(rawjson.AppendText(append(b, ','), kind), ':')
	b = append(append(b, data...), `,"name":`...)
	return append(rawjson.AppendText(b, from), '}')
}

func wordError(message string) []byte {
	return append(rawjson.AppendText([]byte(`{"type":"error","message":`), message), '}')
}
