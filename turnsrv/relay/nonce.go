package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"net/netip"
	"sync"
)

// A nonce is "obMatJos2", four characters of base64 for the 24 security feature
// bits (RFC 8489 section 9.2), and base64url of
//
//	0               4                            14
//	| Unix seconds  | HMAC-SHA256, 10 bytes      |
//
// over seconds, feature bits and the client's transport address. It keeps no
// state, and the same key makes it outlive a restart.
const (
	nonceCookie   = "obMatJos2"
	nonceMAC      = 10
	nonceLen      = len(nonceCookie) + 4 + 19
	nonceLifetime = 600 // seconds
)

// The security features that our nonces announce, as the first byte of the three.
const (
	featurePasswordAlgorithms = 0x80 // bit 0
	featureUsernameAnonymity  = 0x40 // bit 1
)

type nonces struct{ pool sync.Pool } // of keyed hash.Hash

func newNonces(key []byte) *nonces {
	k := append([]byte("rtcd nonce "), key...)
	return &nonces{sync.Pool{New: func() any { return hmac.New(sha256.New, k) }}}
}

func (n *nonces) mac(unix uint32, features byte, client netip.AddrPort) (sum [nonceMAC]byte) {
	var in [4 + 1 + 16 + 2]byte
	binary.BigEndian.PutUint32(in[:], unix)
	in[4] = features
	a := client.Addr().As16()
	copy(in[5:], a[:])
	binary.BigEndian.PutUint16(in[21:], client.Port())
	h := n.pool.Get().(hash.Hash)
	h.Reset()
	h.Write(in[:])
	var full [sha256.Size]byte
	copy(sum[:], h.Sum(full[:0]))
	n.pool.Put(h)
	return sum
}

// append adds a fresh nonce for the client to b.
func (n *nonces) append(b []byte, unix int64, features byte, client netip.AddrPort) []byte {
	b = append(b, nonceCookie...)
	b = base64.StdEncoding.AppendEncode(b, []byte{features, 0, 0})
	var raw [4 + nonceMAC]byte
	binary.BigEndian.PutUint32(raw[:], uint32(unix))
	sum := n.mac(uint32(unix), features, client)
	copy(raw[4:], sum[:])
	return base64.RawURLEncoding.AppendEncode(b, raw[:])
}

// check reports the features that a nonce announced and whether it is one of ours,
// for this client, and not older than 600 s.
func (n *nonces) check(nonce []byte, unix int64, client netip.AddrPort) (features byte, fresh bool) {
	if len(nonce) != nonceLen || string(nonce[:len(nonceCookie)]) != nonceCookie {
		return 0, false
	}
	var bits [3]byte
	if _, err := base64.StdEncoding.Decode(bits[:], nonce[len(nonceCookie):len(nonceCookie)+4]); err != nil {
		return 0, false
	}
	var raw [4 + nonceMAC]byte
	if _, err := base64.RawURLEncoding.Decode(raw[:], nonce[len(nonceCookie)+4:]); err != nil {
		return bits[0], false
	}
	issued := binary.BigEndian.Uint32(raw[:])
	sum := n.mac(issued, bits[0], client)
	age := unix - int64(issued)
	return bits[0], hmac.Equal(sum[:], raw[4:]) && age >= -5 && age <= nonceLifetime
}
