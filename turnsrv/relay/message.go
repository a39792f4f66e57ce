package relay

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"github.com/pion/stun/v3"
)

// Attributes of RFC 8656 and RFC 8489 that pion/stun does not name.
const (
	attrAdditionalAddressFamily stun.AttrType = 0x8000
	attrAddressErrorCode        stun.AttrType = 0x8001
	attrICMP                    stun.AttrType = 0x8004
)

const (
	headerLen      = 20
	attrHeaderLen  = 4
	cookie         = 0x2112A442
	fingerprintXOR = 0x5354554e
)

// message is a decoded STUN message: the attributes that count, and where the
// integrity attributes stand. Attributes after MESSAGE-INTEGRITY are ignored but for
// MESSAGE-INTEGRITY-SHA256 and FINGERPRINT (RFC 8489 section 14.5), those after
// MESSAGE-INTEGRITY-SHA256 but for FINGERPRINT (section 14.6).
type message struct {
	raw    []byte
	typ    stun.MessageType
	id     [12]byte
	attrs  []stun.RawAttribute
	mi     int // offset of MESSAGE-INTEGRITY in raw, 0 if there is none
	mi256  int // the same for MESSAGE-INTEGRITY-SHA256
	miTag  []byte
	mi256T []byte
}

// parse decodes one STUN message. Its memory is the batch's and the input's.
//
//	 0                   1                   2                   3
//	|0 0|     STUN Message Type     |         Message Length        |
//	|                         Magic Cookie                          |
//	|                     Transaction ID (96 bits)                  |
func parse(raw []byte, b *Batch) (m message, why Reason, ok bool) {
	if len(raw) < headerLen || binary.BigEndian.Uint32(raw[4:]) != cookie {
		return m, Malformed, false // RFC 3489 clients too: no answer
	}
	size := int(binary.BigEndian.Uint16(raw[2:]))
	if size%4 != 0 || headerLen+size != len(raw) {
		return m, Malformed, false
	}
	b.msg.Raw = raw
	if b.msg.Decode() != nil {
		return m, Malformed, false
	}
	m = message{raw: raw, typ: b.msg.Type, id: b.msg.TransactionID, attrs: b.msg.Attributes}
	at, kept := headerLen, 0
	for _, a := range b.msg.Attributes {
		next := at + attrHeaderLen + padded(int(a.Length))
		switch {
		case a.Type == stun.AttrFingerprint:
			if !fingerprintFits(raw[:at], a.Value) || next != len(raw) {
				return m, BadChecksum, false
			}
		case m.mi256 != 0:
		case a.Type == stun.AttrMessageIntegritySHA256:
			m.mi256, m.mi256T = at, a.Value
		case m.mi != 0:
		case a.Type == stun.AttrMessageIntegrity:
			m.mi, m.miTag = at, a.Value
		default:
			m.attrs[kept] = a
			kept++
		}
		at = next
	}
	m.attrs = m.attrs[:kept]
	return m, 0, true
}

// get returns the first attribute of a type.
func (m *message) get(t stun.AttrType) ([]byte, bool) {
	for i := range m.attrs {
		if m.attrs[i].Type == t {
			return m.attrs[i].Value, true
		}
	}
	return nil, false
}

func (m *message) has(t stun.AttrType) bool {
	_, ok := m.get(t)
	return ok
}

// unknown lists the comprehension-required attributes that this server does not
// understand (RFC 8489 section 6.3.1).
func (m *message) unknown() []stun.AttrType {
	var list []stun.AttrType
	for i := range m.attrs {
		if t := m.attrs[i].Type; t.Required() && !understood(t) {
			list = append(list, t)
		}
	}
	return list
}

func understood(t stun.AttrType) bool {
	switch t {
	case stun.AttrMappedAddress, stun.AttrUsername, stun.AttrErrorCode, stun.AttrUnknownAttributes,
		stun.AttrRealm, stun.AttrNonce, stun.AttrXORMappedAddress, stun.AttrChannelNumber, stun.AttrLifetime,
		stun.AttrXORPeerAddress, stun.AttrData, stun.AttrXORRelayedAddress, stun.AttrRequestedAddressFamily,
		stun.AttrEvenPort, stun.AttrRequestedTransport, stun.AttrDontFragment, stun.AttrReservationToken,
		stun.AttrPasswordAlgorithm, stun.AttrUserhash:
		return true
	}
	return false
}

func padded(n int) int { return (n + 3) &^ 3 }

func fingerprintFits(before, value []byte) bool {
	return len(value) == 4 && binary.BigEndian.Uint32(value) == crc32.ChecksumIEEE(before)^fingerprintXOR
}

// xorAddress decodes XOR-MAPPED-ADDRESS and its like (RFC 8489 section 14.2). An
// IPv4-mapped address keeps its family: it must not pass for an IPv4 peer.
//
//	|0 0 0 0 0 0 0 0|    Family     |         X-Port                |
//	|                X-Address (32 bits or 128 bits)                |
func xorAddress(v []byte, id [12]byte) (netip.AddrPort, bool) {
	if len(v) < 4 {
		return netip.AddrPort{}, false
	}
	port := binary.BigEndian.Uint16(v[2:]) ^ cookie>>16
	switch {
	case v[1] == 1 && len(v) == 8:
		a := binary.BigEndian.Uint32(v[4:]) ^ cookie
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), port), true
	case v[1] == 2 && len(v) == 20:
		a := [16]byte(v[4:])
		xorWith(a[:], id)
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), true
	}
	return netip.AddrPort{}, false
}

func xorWith(a []byte, id [12]byte) {
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], cookie)
	copy(mask[4:], id[:])
	for i := range a {
		a[i] ^= mask[i]
	}
}

// appendHeader starts a STUN message whose length finish fills in.
func appendHeader(b []byte, t stun.MessageType, id [12]byte) []byte {
	b = binary.BigEndian.AppendUint16(b, t.Value())
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, cookie)
	return append(b, id[:]...)
}

func appendAttr(b []byte, t stun.AttrType, value ...byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, make([]byte, padded(len(value))-len(value))...)
}

func appendUint32Attr(b []byte, t stun.AttrType, v uint32) []byte {
	return appendAttr(b, t, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// appendXORAddress appends XOR-MAPPED-ADDRESS and its like.
func appendXORAddress(b []byte, t stun.AttrType, a netip.AddrPort, id [12]byte) []byte {
	return appendAddress(b, t, a, id, cookie>>16)
}

// appendPlainAddress appends ALTERNATE-SERVER, which is not XORed.
func appendPlainAddress(b []byte, t stun.AttrType, a netip.AddrPort) []byte {
	return appendAddress(b, t, a, [12]byte{}, 0)
}

func appendAddress(b []byte, t stun.AttrType, a netip.AddrPort, id [12]byte, mask uint16) []byte {
	var v [20]byte
	binary.BigEndian.PutUint16(v[2:], a.Port()^mask)
	n := 8
	if ip := a.Addr().Unmap(); ip.Is4() {
		v[1] = 1
		ip4 := ip.As4()
		copy(v[4:], ip4[:])
	} else {
		v[1], n = 2, 20
		ip6 := ip.As16()
		copy(v[4:], ip6[:])
	}
	if mask != 0 {
		xorWith(v[4:n], id)
	}
	return appendAttr(b, t, v[:n]...)
}

// appendErrorCode appends ERROR-CODE (RFC 8489 section 14.8) with its phrase.
func appendErrorCode(b []byte, t stun.AttrType, head uint16, code int, phrase string) []byte {
	var v [64]byte
	binary.BigEndian.PutUint16(v[:], head)
	v[2], v[3] = byte(code/100), byte(code%100)
	return appendAttr(b, t, v[:4+copy(v[4:], phrase)]...)
}

// setLength writes the header's length for a message that is to end at n bytes.
func setLength(msg []byte, n int) {
	binary.BigEndian.PutUint16(msg[2:], uint16(n-headerLen))
}

// appendFingerprint ends a message (RFC 8489 section 14.7).
func appendFingerprint(msg []byte) []byte {
	setLength(msg, len(msg)+8)
	return appendUint32Attr(msg, stun.AttrFingerprint, crc32.ChecksumIEEE(msg)^fingerprintXOR)
}
