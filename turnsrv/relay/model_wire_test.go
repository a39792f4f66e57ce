package relay_test

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"net/netip"
)

// The wire format once more, from RFC 8489 sections 5 and 14, so that the model
// shares no line with what it judges.

// Attribute types of RFC 8489 section 18.3 and RFC 8656 section 18.
const (
	aUsername     = 0x0006
	aIntegrity    = 0x0008
	aErrorCode    = 0x0009
	aUnknown      = 0x000A
	aChannel      = 0x000C
	aLifetime     = 0x000D
	aPeer         = 0x0012
	aData         = 0x0013
	aRealm        = 0x0014
	aNonce        = 0x0015
	aRelayed      = 0x0016
	aFamily       = 0x0017
	aEvenPort     = 0x0018
	aTransport    = 0x0019
	aDontFragment = 0x001A
	aIntegrity256 = 0x001C
	aAlgorithm    = 0x001D
	aUserhash     = 0x001E
	aMapped       = 0x0020
	aToken        = 0x0022
	aAdditional   = 0x8000
	aAddressError = 0x8001
	aAlgorithms   = 0x8002
	aICMP         = 0x8004
	aFingerprint  = 0x8028

	aStrange = 0x0002 // comprehension-required, known to nobody here
)

// Message types: method and class (RFC 8489 section 5).
const (
	binding          = 0x0001
	allocate         = 0x0003
	refresh          = 0x0004
	createPermission = 0x0008
	channelBind      = 0x0009
	sendIndication   = 0x0016
	dataIndication   = 0x0017

	success = 0x0100
	failure = 0x0110
)

const magic = 0x2112A442

// attr is one attribute. peer is what an address attribute says, where it is well formed.
type attr struct {
	typ   uint16
	value []byte
	peer  netip.AddrPort
}

func u16(n int) []byte    { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func u32(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }

// xorMask is what addresses are written with (RFC 8489 section 14.2).
func xorMask(id [12]byte) []byte { return append(u32(magic), id[:]...) }

func peerAttr(typ uint16, p netip.AddrPort, id [12]byte) attr {
	family := byte(1)
	if p.Addr().Is6() {
		family = 2
	}
	v := append([]byte{0, family}, u16(int(p.Port())^magic>>16)...)
	mask := xorMask(id)
	for i, b := range p.Addr().AsSlice() {
		v = append(v, b^mask[i])
	}
	return attr{typ, v, p}
}

func appendAttrs(b []byte, list []attr) []byte {
	for _, a := range list {
		b = binary.BigEndian.AppendUint16(b, a.typ)
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.value)))
		b = append(b, a.value...)
		for len(b)%4 != 0 {
			b = append(b, 0)
		}
	}
	return b
}

func withLength(b []byte, n int) []byte {
	binary.BigEndian.PutUint16(b[2:], uint16(n-20))
	return b
}

// appendMAC signs what is there; the length in the header covers the tag.
func appendMAC(b, key []byte, sha2 bool) []byte {
	h, typ := hmac.New(sha1.New, key), aIntegrity
	if sha2 {
		h, typ = hmac.New(sha256.New, key), aIntegrity256
	}
	h.Write(withLength(b, len(b)+4+h.Size()))
	return appendAttrs(b, []attr{{typ: uint16(typ), value: h.Sum(nil)}})
}

func appendCRC(b []byte) []byte {
	sum := crc32.ChecksumIEEE(withLength(b, len(b)+8)) ^ 0x5354554e
	return appendAttrs(b, []attr{{typ: aFingerprint, value: u32(sum)}})
}

func header(typ uint16, id [12]byte) []byte {
	b := append(binary.BigEndian.AppendUint16(nil, typ), 0, 0)
	return append(append(b, u32(magic)...), id[:]...)
}

// loginKey is the long-term key (RFC 8489 section 9.2.2).
func loginKey(sha2 bool, username, realm, password string) []byte {
	in := []byte(username + ":" + realm + ":" + password)
	if sha2 {
		k := sha256.Sum256(in)
		return k[:]
	}
	k := md5.Sum(in)
	return k[:]
}

// response is a decoded message of the server.
type response struct {
	typ    uint16
	id     [12]byte
	attrs  []attr
	signed string // the key fits: "sha1" or "sha256"
}

func (r *response) get(typ uint16) ([]byte, bool) {
	for _, a := range r.attrs {
		if a.typ == typ {
			return a.value, true
		}
	}
	return nil, false
}

// addresses returns all XORed addresses of a type.
func (r *response) addresses(typ uint16) (out []netip.AddrPort) {
	for _, a := range r.attrs {
		if a.typ == typ && a.peer.IsValid() {
			out = append(out, a.peer)
		}
	}
	return out
}

func (r *response) code() int {
	v, ok := r.get(aErrorCode)
	if !ok || len(v) < 5 {
		return -1
	}
	return int(v[2])*100 + int(v[3])
}

var errWire = errors.New("not a well-formed message")

// decode reads a message strictly: every length fits, padding is zero, the
// fingerprint (if any) is right and last. key, if any, tells whether it is signed.
func decode(b, key []byte) (r response, err error) {
	if len(b) < 20 || len(b)%4 != 0 || int(binary.BigEndian.Uint16(b[2:])) != len(b)-20 || binary.BigEndian.Uint32(b[4:]) != magic {
		return r, errWire
	}
	r.typ, r.id = binary.BigEndian.Uint16(b), [12]byte(b[8:20])
	for at := 20; at < len(b); {
		typ, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		end := at + 4 + n
		if end > len(b) {
			return r, errWire
		}
		a := attr{typ: typ, value: b[at+4 : end]}
		switch typ {
		case aPeer, aRelayed, aMapped:
			a.peer = readAddress(a.value, r.id)
		case aIntegrity, aIntegrity256:
			r.signed = checkMAC(b[:at], key, typ, a.value)
		case aFingerprint:
			sum := crc32.ChecksumIEEE(b[:at]) ^ 0x5354554e
			if end != len(b) || n != 4 || binary.BigEndian.Uint32(a.value) != sum {
				return r, errWire
			}
		}
		for ; end%4 != 0; end++ {
			if b[end] != 0 {
				return r, errWire // somebody else's bytes
			}
		}
		r.attrs = append(r.attrs, a)
		at = end
	}
	return r, nil
}

func readAddress(v []byte, id [12]byte) netip.AddrPort {
	if len(v) != 8 && len(v) != 20 || v[1] != map[int]byte{8: 1, 20: 2}[len(v)] {
		return netip.AddrPort{}
	}
	mask, ip := xorMask(id), make([]byte, len(v)-4)
	for i := range ip {
		ip[i] = v[4+i] ^ mask[i]
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(v[2:])^magic>>16)
}

func checkMAC(before, key []byte, typ uint16, tag []byte) string {
	name, h := "sha1", hash.Hash(nil)
	if key == nil {
		return ""
	}
	if h = hmac.New(sha1.New, key); typ == aIntegrity256 {
		name, h = "sha256", hmac.New(sha256.New, key)
	}
	signed := append([]byte(nil), before...)
	h.Write(withLength(signed, len(signed)+4+len(tag)))
	if !hmac.Equal(h.Sum(nil), tag) {
		return ""
	}
	return name
}
