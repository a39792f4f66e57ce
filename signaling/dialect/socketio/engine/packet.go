package engine

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strconv"
	"unicode/utf8"
)

// Kinds of packets: the digit in front.
const (
	kindOpen    = '0'
	kindClose   = '1'
	kindPing    = '2'
	kindPong    = '3'
	kindMessage = '4'
	kindUpgrade = '5'
	kindNoop    = '6'
)

const (
	separator  = 0x1e // between packets of a payload of revision 4
	maxPackets = 1024 // of one payload
)

var (
	errPacket   = errors.New("engine: not a packet")
	errPayload  = errors.New("engine: not a payload")
	errTooMany  = errors.New("engine: too many packets in one payload")
	errEncoding = errors.New("engine: not UTF-8")
)

// Packet is one unit of Engine.IO. Only messages can be binary.
type Packet struct {
	kind   byte
	Binary bool
	Data   []byte
}

// Text returns a message of text.
func Text(data []byte) Packet { return Packet{kind: kindMessage, Data: data} }

// Binary returns a message of bytes.
func Binary(data []byte) Packet { return Packet{kind: kindMessage, Binary: true, Data: data} }

// parseText takes a text frame, or one packet of a text payload, apart: a digit and
// text, or a binary message in base64 (`b4…` in revision 3, `b…` in 4).
func parseText(rev int, b []byte) (Packet, error) {
	if len(b) == 0 {
		return Packet{}, errPacket
	}
	if b[0] == 'b' {
		b = b[1:]
		if rev == 3 {
			if len(b) == 0 || b[0] != kindMessage {
				return Packet{}, errPacket
			}
			b = b[1:]
		}
		data := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
		n, err := base64.StdEncoding.Decode(data, b)
		return Binary(data[:n]), err
	}
	if b[0] < kindOpen || b[0] > kindNoop {
		return Packet{}, errPacket
	}
	if !utf8.Valid(b) {
		return Packet{}, errEncoding
	}
	return Packet{kind: b[0], Data: b[1:]}, nil
}

// parseBinary takes a binary frame apart.
func parseBinary(rev int, b []byte) (Packet, error) {
	if rev == 3 {
		if len(b) == 0 || b[0] != kindMessage-'0' {
			return Packet{}, errPacket
		}
		b = b[1:]
	}
	return Binary(b), nil
}

// appendText appends a packet as a text frame or as one packet of a text payload.
func appendText(dst []byte, rev int, p Packet) []byte {
	if !p.Binary {
		return append(append(dst, p.kind), p.Data...)
	}
	dst = append(dst, 'b')
	if rev == 3 {
		dst = append(dst, kindMessage)
	}
	return base64.StdEncoding.AppendEncode(dst, p.Data)
}

// appendBinary appends a binary message as a binary frame.
func appendBinary(dst []byte, rev int, p Packet) []byte {
	if rev == 3 {
		dst = append(dst, kindMessage-'0')
	}
	return append(dst, p.Data...)
}

// parsePayload takes the body of a POST apart; octets says that it came as
// application/octet-stream. The packets borrow from body.
func parsePayload(rev int, octets bool, body []byte) ([]Packet, error) {
	switch {
	case rev == 4:
		return parsePayload4(body)
	case octets:
		return parseOctets(body)
	}
	return parsePayload3(body)
}

func parsePayload4(body []byte) ([]Packet, error) {
	if bytes.Count(body, []byte{separator}) >= maxPackets {
		return nil, errTooMany
	}
	var all []Packet
	for part := range bytes.SplitSeq(body, []byte{separator}) {
		p, err := parseText(4, part)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// parsePayload3 reads `length:packet…`; the length counts UTF-16 units.
func parsePayload3(body []byte) ([]Packet, error) {
	if !utf8.Valid(body) {
		return nil, errEncoding
	}
	var all []Packet
	for len(body) > 0 {
		head, rest, found := bytes.Cut(body, []byte(":"))
		units, err := strconv.ParseUint(string(head), 10, 31)
		if !found || err != nil {
			return nil, errPayload
		}
		n, ok := unitsToBytes(rest, int(units))
		if !ok {
			return nil, errPayload
		}
		p, err := parseText(3, undouble(rest[:n]))
		if err != nil {
			return nil, err
		}
		if all = append(all, p); len(all) > maxPackets {
			return nil, errTooMany
		}
		body = rest[n:]
	}
	if all == nil {
		return nil, errPayload
	}
	return all, nil
}

// unitsToBytes returns how many bytes of the UTF-8 text hold so many UTF-16 units.
func unitsToBytes(text []byte, units int) (n int, ok bool) {
	for units > 0 {
		if n >= len(text) {
			return 0, false
		}
		r, size := utf8.DecodeRune(text[n:])
		n += size
		units -= utf16Len(r)
	}
	return n, units == 0
}

func utf16Len(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// undouble takes back the second UTF-8 encoding of Engine.IO 1, if there was one:
// all characters are bytes then, and those bytes are UTF-8 again.
func undouble(text []byte) []byte {
	var once []byte
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		if r > 0xff {
			return text
		}
		if size > 1 && once == nil {
			once = append(make([]byte, 0, len(text)), text[:i]...)
		}
		if once != nil {
			once = append(once, byte(r))
		}
		i += size
	}
	if once == nil || !utf8.Valid(once) {
		return text
	}
	return once
}

// parseOctets reads, per packet, 0 or 1, the digits of its length, 0xff, the packet.
func parseOctets(body []byte) ([]Packet, error) {
	var all []Packet
	for len(body) > 0 {
		kind := body[0]
		end := bytes.IndexByte(body, 0xff)
		if end < 2 || end > 10 || kind > 1 {
			return nil, errPayload
		}
		size := 0
		for _, digit := range body[1:end] {
			if digit > 9 {
				return nil, errPayload
			}
			size = size*10 + int(digit)
		}
		body = body[end+1:]
		if size > len(body) {
			return nil, errPayload
		}
		parse := parseText
		if kind == 1 {
			parse = parseBinary
		}
		p, err := parse(3, body[:size])
		if err != nil {
			return nil, err
		}
		if all = append(all, p); len(all) > maxPackets {
			return nil, errTooMany
		}
		body = body[size:]
	}
	if all == nil {
		return nil, errPayload
	}
	return all, nil
}

// appendPayload appends packets as the body of a GET's answer and says whether it is
// octets. b64 clients of revision 3 take no octets.
func appendPayload(dst []byte, rev int, b64 bool, packets []Packet) (body []byte, octets bool) {
	if rev == 4 {
		for i, p := range packets {
			if i > 0 {
				dst = append(dst, separator)
			}
			dst = appendText(dst, 4, p)
		}
		return dst, false
	}
	if !b64 {
		for _, p := range packets {
			octets = octets || p.Binary
		}
	}
	var one []byte
	for _, p := range packets {
		if octets && p.Binary {
			one = appendBinary(one[:0], 3, p)
			dst = appendOctets(dst, 1, one)
			continue
		}
		one = escape(appendText(one[:0], 3, p))
		if octets {
			dst = appendOctets(dst, 0, one)
			continue
		}
		dst = strconv.AppendInt(dst, int64(len(one)), 10) // ASCII: bytes are units
		dst = append(dst, ':')
		dst = append(dst, one...)
	}
	return dst, octets
}

func appendOctets(dst []byte, kind byte, packet []byte) []byte {
	dst = append(dst, kind)
	for _, digit := range strconv.Itoa(len(packet)) {
		dst = append(dst, byte(digit-'0'))
	}
	return append(append(dst, 0xff), packet...)
}

const hexDigits = "0123456789abcdef"

// escape makes JSON ASCII: \uXXXX for everything else, in UTF-16 units.
func escape(text []byte) []byte {
	i := 0
	for i < len(text) && text[i] < utf8.RuneSelf {
		i++
	}
	if i == len(text) {
		return text
	}
	out := append(make([]byte, 0, 2*len(text)), text[:i]...)
	unit := func(u rune) {
		out = append(out, '\\', 'u', hexDigits[u>>12&15], hexDigits[u>>8&15], hexDigits[u>>4&15], hexDigits[u&15])
	}
	for i < len(text) {
		r, size := utf8.DecodeRune(text[i:])
		i += size
		switch {
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r > 0xffff:
			unit(0xd800 + (r-0x10000)>>10)
			unit(0xdc00 + (r-0x10000)&0x3ff)
		default:
			unit(r)
		}
	}
	return out
}
