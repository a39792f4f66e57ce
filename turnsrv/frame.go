package turnsrv

import (
	"encoding/binary"
	"errors"
)

// Limits of a frame on a stream, in bytes.
const (
	// maxAnonymousFrame bounds what a client may send before it has authenticated.
	maxAnonymousFrame = 2048
	// maxFrame is the largest payload (padded) in a Send indication: a header of 20,
	// XOR-PEER-ADDRESS of 12 and the 4 before DATA. ChannelData is smaller.
	maxFrame = 65508 + 36
)

// Why a byte stream is not STUN and TURN. All of them end the connection: there is
// no way to find the next frame.
var (
	ErrNotTURN      = errors.New("stream is neither STUN nor ChannelData")
	ErrFrameTooLong = errors.New("frame too long")
)

const magicCookie = 0x2112A442 // RFC 8489 section 5

// ScanFrame returns the length of the first frame of a stream, padding included, or
// 0 if buf does not hold all of it yet. Frames longer than max bytes are refused as
// soon as their length is known, and what cannot be STUN with its first bytes.
//
//	STUN (RFC 8489 section 5):               00 type(14 bits), length(16) without
//	                                         the header of 20, a multiple of 4, cookie(32)
//	ChannelData (RFC 8656 section 12.4–12.5): 01 number(14 bits), length(16) of the
//	                                         data, data, padding to a multiple of 4
func ScanFrame(buf []byte, max int) (n int, err error) {
	if len(buf) == 0 {
		return 0, nil
	}
	kind := buf[0] >> 6
	if kind > 1 {
		return 0, ErrNotTURN
	}
	if len(buf) < 4 {
		return 0, nil
	}
	length := int(binary.BigEndian.Uint16(buf[2:]))
	if kind == 1 {
		n = 4 + (length+3)&^3
	} else {
		n = 20 + length
		if length%4 != 0 || len(buf) >= 8 && binary.BigEndian.Uint32(buf[4:]) != magicCookie {
			return 0, ErrNotTURN
		}
	}
	switch {
	case n > max:
		return 0, ErrFrameTooLong
	case n > len(buf):
		return 0, nil
	}
	return n, nil
}
