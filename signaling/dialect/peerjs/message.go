package peerjs

import (
	"encoding/json"

	"rtcd/signaling"
	"rtcd/signaling/dialect/rawjson"
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
	fields, _ := rawjson.Object(frame)
	m.kind, _ = rawjson.Text(fields["type"])
	m.dst, _ = rawjson.Text(fields["dst"])
	m.payload = fields["payload"]
	switch m.kind {
	case "OFFER", "ANSWER", "CANDIDATE", "EXPIRE":
		return m, m.dst != ""
	case "LEAVE":
		return m, true
	}
	return message{}, false
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
	b := rawjson.AppendText([]byte(`{"type":`), kind)
	b = rawjson.AppendText(append(b, `,"src":`...), src)
	b = rawjson.AppendText(append(b, `,"dst":`...), dst)
	if payload != nil {
		b = append(append(b, `,"payload":`...), payload...)
	}
	return append(b, '}')
}

// marshal is JSON of what always has one.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the few things that come here have one
	}
	return b
}
