package mux

import (
	"crypto/tls"
	"slices"
)

// Protocol is what a client speaks.
type Protocol int

// The values of Protocol.
const (
	Unknown Protocol = iota
	HTTP
	TURN
)

// Judge tells a protocol by the first byte of a connection.
//
// A STUN message begins with two zero bits and its type, of which the first byte is 0 to 3
// (RFC 8489 section 5, section 18.2), and ChannelData with 0x40 to 0x4f (RFC 8656 section
// 12.4). A line of HTTP/1 begins with the letter of a method, and so does the preface of
// HTTP/2. Where the two meet, from A to O, it is HTTP: before there can be ChannelData
// there is a request.
func Judge(first byte) Protocol {
	switch {
	case 'A' <= first && first <= 'Z', 'a' <= first && first <= 'z':
		return HTTP
	case first <= 0x03, first == 0x40:
		return TURN
	}
	return Unknown
}

// The names of protocols in TLS (RFC 7301, RFC 7443, RFC 8737, RFC 9113).
const (
	alpnTURN  = "stun.turn"
	alpnSTUN  = "stun.nat-discovery"
	alpnHTTP1 = "http/1.1"
	alpnHTTP2 = "h2"
	alpnACME  = "acme-tls/1"
)

// served are the protocols of a port, the first that the client offers too wins. That is
// TURN where it is offered at all: who does not want it does not.
var served = []string{alpnTURN, alpnSTUN, alpnHTTP2, alpnHTTP1}

// byALPN tells a protocol by what was agreed on. HTTP/1.1 is none that it could tell: what
// looks at connections sees only web traffic then, so TURN clients may say it too.
func byALPN(agreed string) Protocol {
	switch agreed {
	case alpnTURN, alpnSTUN:
		return TURN
	case alpnHTTP2:
		return HTTP
	}
	return Unknown
}

// tlsConfig adds the protocols of a port to c, which may have others already (ACME's). A
// client that offers only protocols that nobody knows here is served as if it had offered
// none, for its first byte tells too.
func tlsConfig(c *tls.Config) *tls.Config {
	silent := c.Clone()
	silent.NextProtos = nil
	c = c.Clone()
	c.NextProtos = append(slices.Clone(served), c.NextProtos...)
	known := c.NextProtos
	before := c.GetConfigForClient
	c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if before != nil {
			if other, err := before(hello); other != nil || err != nil {
				return other, err
			}
		}
		if slices.ContainsFunc(hello.SupportedProtos, func(p string) bool { return slices.Contains(known, p) }) {
			return nil, nil
		}
		return silent, nil
	}
	return c
}
