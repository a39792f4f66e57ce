package peerjs

import (
	"encoding/json"
	"unicode/utf8"

	"rtcd/signaling"
)

// message is what a client sends to another one.
type message struct {
	kind    string // OFFER, ANSWER, CANDIDATE, LEAVE or EXPIRE
	dst     string // only LEAVE can do without
	payload json.RawMessage
}

// waits says whether the message is kept for one who is not there.
func (m *message) waits() bool { return m.kind != "LEAVE" && m.kind != "EXPIRE" }

// parse takes a frame apart. There is nothing to do for those that are not ok.
func parse(frame []byte) (m message, ok bool) {
	var fields map[string]json.RawMessage // not a struct: JavaScript minds upper and lower case
	if !utf8.Valid(frame) || json.Unmarshal(frame, &fields) != nil {
		return message{}, false
	}
	m = message{kind: text(fields["type"]), dst: text(fields["dst"]), payload: fields["payload"]}
	switch m.kind {
	case "OFFER", "ANSWER", "CANDIDATE", "EXPIRE":
		return m, m.dst != ""
	case "LEAVE":
		return m, true
	}
	return message{}, false
}

// text is a string; "" for all else.
func text(v json.RawMessage) (s string) {
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// wordOpen tells a peer that it is in, and the relay's credentials.
func wordOpen(welcome *signaling.Event) []byte {
	if welcome.ICE == nil || len(welcome.ICE.Servers) == 0 {
		return []byte(`{"type":"OPEN"}`)
	}
	return marshal(map[string]any{"type": "OPEN", "payload": map[string]any{
		"iceServers": welcome.ICE.Servers, "ttl": welcome.TTL,
	}})
}

func wordError(msg string) []byte {
	return marshal(map[string]any{"type": "ERROR", "payload": map[string]string{"msg": msg}})
}

// wordExpire tells me that dst did not come.
func wordExpire(dst, me string) []byte { return wordMessage("EXPIRE", dst, me, nil) }

// wordMessage is a message as its receiver gets it. The payload is the sender's bytes.
func wordMessage(kind, src, dst string, payload json.RawMessage) []byte {
	b := append([]byte(`{"type":`), marshal(kind)...)
	b = append(append(b, `,"src":`...), marshal(src)...)
	b = append(append(b, `,"dst":`...), marshal(dst)...)
	if payload != nil {
		b = append(append(b, `,"payload":`...), payload...)
	}
	return append(b, '}')
}

// marshal is JSON of what always has one.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // only strings, numbers and their like come here
	}
	return b
}
