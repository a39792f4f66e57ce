package socketio

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"rtcd/signaling/dialect/socketio/engine"
)

// Types of packets: the digit in front.
const (
	connect     = '0'
	disconnect  = '1'
	event       = '2'
	ack         = '3'
	failure     = '4'
	binaryEvent = '5'
	binaryAck   = '6'
)

const (
	maxNamespace   = 100 // bytes
	maxAttachments = 64
	maxAckDigits   = 15
)

var errPacket = errors.New("socketio: not a packet")

// packet is one unit of Socket.IO, its attachments apart.
type packet struct {
	kind        byte
	attachments int // how many follow
	namespace   string
	id          string          // digits of the ack, "" for none
	data        json.RawMessage // nil: none
}

// parsePacket takes the text of an engine's message apart. The data borrows from b.
func parsePacket(b []byte) (packet, error) {
	if len(b) == 0 || b[0] < connect || b[0] > binaryAck {
		return packet{}, errPacket
	}
	p := packet{kind: b[0], namespace: "/"}
	b = b[1:]
	if p.kind == binaryEvent || p.kind == binaryAck {
		digits, rest, found := bytes.Cut(b, []byte("-"))
		n, err := strconv.ParseUint(string(digits), 10, 16)
		if !found || err != nil || n > maxAttachments {
			return p, errPacket
		}
		p.attachments, b = int(n), rest
	}
	if len(b) > 0 && b[0] == '/' {
		name, rest, _ := bytes.Cut(b, []byte(","))
		name, _, _ = bytes.Cut(name, []byte("?")) // revision 3 has a query on CONNECT
		if !validNamespace(name) {
			return p, errPacket
		}
		p.namespace, b = string(name), rest
	}
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	if n > maxAckDigits {
		return p, errPacket
	}
	p.id, b = string(b[:n]), b[n:]
	if len(b) > 0 {
		if !json.Valid(b) {
			return p, errPacket
		}
		p.data = b
	}
	return p, nil
}

// validNamespace admits what an address can name: printable ASCII.
func validNamespace(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '"' {
			return false
		}
	}
	return len(b) <= maxNamespace
}

// appendPacket appends a packet's text.
func appendPacket(b []byte, p packet) []byte {
	b = append(b, p.kind)
	if p.kind == binaryEvent || p.kind == binaryAck {
		b = strconv.AppendInt(b, int64(p.attachments), 10)
		b = append(b, '-')
	}
	if p.namespace != "/" {
		b = append(b, p.namespace...)
		b = append(b, ',')
	}
	b = append(b, p.id...)
	return append(b, p.data...)
}

// args are an event's arguments: the JSON between the brackets, without the name,
// and the binary values that its placeholders stand for.
type args struct {
	json        []byte
	attachments [][]byte
}

// pack makes one value of args, for the hub to carry:
//
//	uvarint number of attachments, each a uvarint length and the bytes, JSON
func (a args) pack() json.RawMessage {
	size := binary.MaxVarintLen16 + len(a.json)
	for _, x := range a.attachments {
		size += binary.MaxVarintLen32 + len(x)
	}
	b := binary.AppendUvarint(make([]byte, 0, size), uint64(len(a.attachments)))
	for _, x := range a.attachments {
		b = binary.AppendUvarint(b, uint64(len(x)))
		b = append(b, x...)
	}
	return append(b, a.json...)
}

// unpack takes back what pack made. The args borrow from b.
func unpack(b json.RawMessage) args {
	var a args
	count, n := binary.Uvarint(b)
	if n <= 0 {
		return a
	}
	b = b[n:]
	for range min(count, maxAttachments) {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return args{}
		}
		a.attachments = append(a.attachments, b[n:n+int(size)])
		b = b[n+int(size):]
	}
	a.json = b
	return a
}

// messages are the engine's messages of an event or ack.
func (a args) messages(kind byte, namespace, id, name string) []engine.Packet {
	p := packet{kind: kind, namespace: namespace, id: id, attachments: len(a.attachments)}
	if p.attachments > 0 {
		p.kind += binaryEvent - event
	}
	p.data = append(make([]byte, 0, 4+len(name)+len(a.json)), '[')
	if kind == event {
		p.data = appendString(p.data, name)
		if len(a.json) > 0 {
			p.data = append(p.data, ',')
		}
	}
	p.data = append(append(p.data, a.json...), ']')
	all := []engine.Packet{engine.Text(appendPacket(make([]byte, 0, len(p.data)+16), p))}
	for _, x := range a.attachments {
		all = append(all, engine.Binary(x))
	}
	return all
}

// input is an event of a client.
type input struct {
	name        string
	args        []json.RawMessage
	attachments [][]byte
	id          string // of the ack that the client waits for, "" for none
}

// parseInput makes an event of a packet and its attachments. A placeholder for an
// attachment that is not there would make the receiver's client fail, so it is
// refused here.
func parseInput(p *packet, attachments [][]byte) (*input, error) {
	in := &input{attachments: attachments, id: p.id}
	var all []json.RawMessage
	if json.Unmarshal(p.data, &all) != nil || len(all) == 0 {
		return nil, errPacket
	}
	if json.Unmarshal(all[0], &in.name) != nil || all[0][0] != '"' {
		return nil, errPacket
	}
	in.args = all[1:]
	if len(attachments) > 0 {
		var v any
		if json.Unmarshal(p.data, &v) != nil || !placeholdersFit(v, len(attachments)) {
			return nil, errPacket
		}
	}
	return in, nil
}

// placeholdersFit says whether every placeholder in v has one of n attachments.
func placeholdersFit(v any, n int) bool {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			if !placeholdersFit(x, n) {
				return false
			}
		}
	case map[string]any:
		if mark, _ := v["_placeholder"].(bool); mark {
			num, ok := v["num"].(float64)
			return ok && num >= 0 && num < float64(n) && num == float64(int(num))
		}
		for _, x := range v {
			if !placeholdersFit(x, n) {
				return false
			}
		}
	}
	return true
}

// arg is the i-th argument; null if it is not there.
func (in *input) arg(i int) json.RawMessage {
	if i >= len(in.args) {
		return json.RawMessage("null")
	}
	return in.args[i]
}

// all are the arguments as they came.
func (in *input) all() args {
	var b []byte
	for i, x := range in.args {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, x...)
	}
	return args{json: b, attachments: in.attachments}
}

// with is some JSON in place of the arguments, and their attachments.
func (in *input) with(json []byte) args { return args{json: json, attachments: in.attachments} }

// fields takes an object apart; nil if v is something else.
func fields(v json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if len(v) == 0 || v[0] != '{' || json.Unmarshal(v, &m) != nil {
		return nil
	}
	return m
}

// text is a string, or a number as it is written; ok is false for all else.
func text(v json.RawMessage) (s string, ok bool) {
	if len(v) == 0 {
		return "", false
	}
	if v[0] == '"' {
		return s, json.Unmarshal(v, &s) == nil
	}
	if v[0] == '-' || v[0] >= '0' && v[0] <= '9' {
		return string(v), true
	}
	return "", false
}

// name is text that the hub takes as a name.
func name(v json.RawMessage) (s string, ok bool) {
	s, ok = text(v)
	return s, ok && validName(s)
}

// validName says whether s is 1–128 bytes without control characters.
func validName(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0xfffd
	})
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	quoted, err := json.Marshal(s) // cannot fail: what is not UTF-8 is replaced
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, quoted...)
}

func appendInt(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

// object is a JSON object of those fields that are there, in the order of keys.
func object(keys []string, f map[string]json.RawMessage) []byte {
	b := []byte{'{'}
	for _, key := range keys {
		if f[key] == nil {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(appendString(b, key), ':'), f[key]...)
	}
	return append(b, '}')
}
