package turnsrv

import "encoding/binary"

// What a client of ours may send before its keys are known. We ask for no certificate, so
// its handshake is one or two ClientHellos and a ClientKeyExchange.
const (
	recordHeader    = 13
	fragmentHeader  = 12
	maxRecordLength = 1<<14 + 2048 // RFC 6347 section 4.1 by RFC 5246 section 6.2.3
	maxHelloLength  = 8 << 10      // of a handshake message; those with post-quantum shares have two
	maxMessageSeq   = 7
)

// soundRecords reports whether a datagram is made of records that a client of ours may
// send. Only such ones go on to pion/dtls, whose own goroutines parse them and where
// nobody recovers for us, and which would keep megabytes of fragments for a stranger.
//
// A record (RFC 6347 section 4.1):
//
//	0  content type   1  version {254, 253 or 255}   3  epoch   5  sequence number (48)   11  length   13  …
//
// What is encrypted, in epoch 1, is judged by its length alone.
func soundRecords(b []byte) bool {
	if len(b) == 0 {
		return false
	}
	for len(b) > 0 {
		if len(b) < recordHeader || b[1] != 254 || b[2] != 253 && b[2] != 255 {
			return false
		}
		epoch, length := binary.BigEndian.Uint16(b[3:]), int(binary.BigEndian.Uint16(b[11:]))
		if length == 0 || length > maxRecordLength || length > len(b)-recordHeader {
			return false
		}
		body := b[recordHeader:][:length]
		if epoch > 1 || epoch == 1 && (b[0] < 20 || b[0] > 23) || epoch == 0 && !soundPlain(b[0], body) {
			return false
		}
		b = b[recordHeader+length:]
	}
	return true
}

// soundPlain judges the body of a record that is not encrypted.
func soundPlain(kind byte, body []byte) bool {
	switch kind {
	case 20: // change_cipher_spec
		return len(body) == 1 && body[0] == 1
	case 21: // alert: level, description
		return len(body) == 2 && (body[0] == 1 || body[0] == 2)
	case 22:
		return soundFragments(body)
	}
	return false
}

// soundFragments judges the fragments of handshake messages in a record (RFC 6347 section
// 4.2.2):
//
//	0  type   1  length (24)   4  message sequence   6  offset (24)   9  fragment's length (24)   12  …
func soundFragments(b []byte) bool {
	const clientHello, clientKeyExchange = 1, 16
	for len(b) > 0 {
		if len(b) < fragmentHeader || b[0] != clientHello && b[0] != clientKeyExchange {
			return false
		}
		length, from, size := uint24(b[1:]), uint24(b[6:]), uint24(b[9:])
		if length == 0 || length > maxHelloLength || size == 0 || from+size > length || size > len(b)-fragmentHeader ||
			binary.BigEndian.Uint16(b[4:]) > maxMessageSeq {
			return false
		}
		if b[0] == clientHello && size == length && !soundHello(b[fragmentHeader:][:size]) {
			return false
		}
		b = b[fragmentHeader+size:]
	}
	return true
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

// soundHello judges a whole ClientHello (RFC 5246 section 7.4.1.2 and RFC 6347 section
// 4.2.1): version, random, session id ≤ 32, cookie ≤ 255, cipher suites, compression
// methods, and extensions that fill the rest.
func soundHello(b []byte) bool {
	if len(b) < 2+32 || b[0] != 254 {
		return false
	}
	session, b, ok := vector(b[34:], 1)
	if !ok || len(session) > 32 {
		return false
	}
	_, b, ok = vector(b, 1) // the cookie
	if !ok {
		return false
	}
	suites, b, ok := vector(b, 2)
	if !ok || len(suites) == 0 || len(suites)%2 != 0 {
		return false
	}
	methods, b, ok := vector(b, 1)
	if !ok || len(methods) == 0 {
		return false
	}
	if len(b) == 0 {
		return true
	}
	extensions, b, ok := vector(b, 2)
	if !ok || len(b) > 0 {
		return false
	}
	for len(extensions) > 0 {
		if len(extensions) < 2 {
			return false
		}
		if _, extensions, ok = vector(extensions[2:], 2); !ok {
			return false
		}
	}
	return true
}

// vector cuts off one whose length is in the first n bytes, 1 or 2.
func vector(b []byte, n int) (v, rest []byte, ok bool) {
	if len(b) < n {
		return nil, nil, false
	}
	size := int(b[0])
	if n == 2 {
		size = int(binary.BigEndian.Uint16(b))
	}
	if size > len(b)-n {
		return nil, nil, false
	}
	return b[n : n+size], b[n+size:], true
}
