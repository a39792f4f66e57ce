package relay

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"

	"github.com/pion/stun/v3"
)

// Password algorithms of RFC 8489 section 18.5.
const (
	algMD5    = 1
	algSHA256 = 2
)

// passwordAlgorithms is the value of PASSWORD-ALGORITHMS (RFC 8489 section 14.11):
// what this server supports, the preferred first, no parameters.
var passwordAlgorithms = []byte{0, algSHA256, 0, 0, 0, algMD5, 0, 0}

// longTermKey is the key of RFC 8489 section 9.2.2: the hash of
// username ":" realm ":" password.
func longTermKey(alg uint16, username, realm, password string) []byte {
	in := make([]byte, 0, len(username)+len(realm)+len(password)+2)
	in = append(append(in, username...), ':')
	in = append(append(in, realm...), ':')
	in = append(in, password...)
	if alg == algSHA256 {
		sum := sha256.Sum256(in)
		return sum[:]
	}
	sum := md5.Sum(in)
	return sum[:]
}

// integrity is the HMAC over a message up to at, with the header's length set as
// if the message ended behind an integrity attribute of tagLen bytes there.
func integrity(h hash.Hash, raw []byte, at, tagLen int) []byte {
	var head [headerLen]byte
	copy(head[:], raw)
	binary.BigEndian.PutUint16(head[2:], uint16(at+attrHeaderLen+tagLen-headerLen))
	h.Write(head[:])
	h.Write(raw[headerLen:at])
	return h.Sum(nil)
}

// signedBy reports whether the message carries a valid tag of key, the stronger one
// deciding where there are two. A SHA-256 tag may be cut to a multiple of four, not
// below 16 bytes (RFC 8489 section 14.6).
func (m *message) signedBy(key []byte) bool {
	if m.mi256 != 0 {
		n := len(m.mi256T)
		if n < 16 || n > sha256.Size || n%4 != 0 {
			return false
		}
		return hmac.Equal(integrity(hmac.New(sha256.New, key), m.raw, m.mi256, n)[:n], m.mi256T)
	}
	return len(m.miTag) == sha1.Size &&
		hmac.Equal(integrity(hmac.New(sha1.New, key), m.raw, m.mi, sha1.Size), m.miTag)
}

// appendIntegrity signs a message: with MESSAGE-INTEGRITY-SHA256 where the request
// had it, else with MESSAGE-INTEGRITY.
func appendIntegrity(msg, key []byte, sha2 bool) []byte {
	if sha2 {
		return appendAttr(msg, stun.AttrMessageIntegritySHA256,
			integrity(hmac.New(sha256.New, key), msg, len(msg), sha256.Size)...)
	}
	return appendAttr(msg, stun.AttrMessageIntegrity,
		integrity(hmac.New(sha1.New, key), msg, len(msg), sha1.Size)...)
}

// chosenAlgorithm is the algorithm that the request's key is made with. ok is false
// when the attributes do not repeat what the server offered: somebody on the path
// may have taken the stronger ones out (RFC 8489 section 9.2.4).
func (m *message) chosenAlgorithm(offered bool) (alg uint16, ok bool) {
	list, hasList := m.get(stun.AttrPasswordAlgorithms)
	one, hasOne := m.get(stun.AttrPasswordAlgorithm)
	if !offered || !hasList && !hasOne {
		return algMD5, true
	}
	if !hasList || !hasOne || !slices.Equal(list, passwordAlgorithms) || len(one) < 4 {
		return 0, false
	}
	alg = binary.BigEndian.Uint16(one)
	return alg, (alg == algMD5 || alg == algSHA256) && binary.BigEndian.Uint16(one[2:]) == 0
}
