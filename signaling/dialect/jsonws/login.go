package jsonws

import (
	"encoding/json"
	"errors"

	"rtcd/signaling"
)

// login is the part of a client that has a name. The client's lock guards it.
type login struct {
	session *signaling.Session // nil: not logged in
	seat    *seat
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
	l.seat.hear = nil
	l.session.End()
	*l = login{}
}

// enter logs in.
func (c *client) enter(m map[string]json.RawMessage) {
	name, ok := text(m["name"])
	switch {
	case !ok || !validName(name):
		c.refuse("login needs a name")
		return
	case c.claims.Name != "" && c.claims.Name != name:
		c.refuse("the token is for another name")
		return
	case c.login.session == nil || c.login.name != name:
		t := &seat{client: c}
		t.hear = c.hearSignal
		session, err := c.open(signaling.Hello{
			Tenant: "json:" + c.tenant, Direct: true, User: name, Exclusive: true,
		}, t)
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
	b := appendString([]byte(`{"type":"login","success":false,"message":`), why)
	c.socket.Post(append(b, '}'))
}

// signal calls somebody by name.
func (c *client) signal(verb string, m map[string]json.RawMessage) {
	l := &c.login
	to, ok := text(m["name"])
	data, there := m[verb]
	switch {
	case l.session == nil:
		c.fail("Not logged in")
		return
	case !ok || !validName(to) || verb != "leave" && !there:
		c.fail("Incomplete: " + verb)
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

// hearSignal words what comes for the one who is logged in.
func (c *client) hearSignal(e *signaling.Event) []byte {
	l := &c.login
	switch {
	case e.Type == signaling.TypeError && string(e.Re) == `"offer"`:
		if e.Code != signaling.CodeAbsent {
			return wordError(e.Message)
		}
		if "@"+l.partner == e.To {
			l.partner = ""
		}
		return wordError("User not found: " + e.To[1:])
	case e.Type != signaling.TypeSignal:
		return nil
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
	b := appendString([]byte(`{"type":`), kind)
	b = append(appendString(append(b, ','), kind), ':')
	b = append(append(b, data...), `,"name":`...)
	return append(appendString(b, from), '}')
}

func wordError(message string) []byte {
	return append(appendString([]byte(`{"type":"error","message":`), message), '}')
}
