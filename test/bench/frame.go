//go:build linux

package main

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// datagram is one UDP datagram, or several of segment bytes each that travel as one
// super-frame.
type datagram struct {
	src, dst netip.AddrPort
	payload  []byte
	segment  int // bytes of each; 0 = one datagram
}

const (
	vnetLen    = 10
	headersLen = vnetLen + 14 + 20 + 8
)

// Values of struct virtio_net_hdr, from linux/virtio_net.h.
const (
	vnetNeedsChecksum = 1
	vnetGSOUDP        = 5
)

// appendFrame appends what an AF_PACKET socket with PACKET_VNET_HDR takes: the
// virtio_net_hdr (little endian on all we run on), then Ethernet, IPv4 and UDP
// headers, then the payload. The UDP checksum is left to whoever needs it.
//
//	0     1        2        4         6           8
//	flags gso_type hdr_len  gso_size  csum_start  csum_offset
func appendFrame(b []byte, from, to net.HardwareAddr, d datagram) []byte {
	be, le := binary.BigEndian, binary.LittleEndian
	gso, udpLen := byte(0), 8+len(d.payload)
	if d.segment > 0 {
		gso = vnetGSOUDP
	}
	b = append(b, vnetNeedsChecksum, gso)
	b = le.AppendUint16(b, 14+20+8)
	b = le.AppendUint16(b, uint16(d.segment))
	b = le.AppendUint16(b, 14+20)
	b = le.AppendUint16(b, 6)

	b = append(b, to...)
	b = append(b, from...)
	b = be.AppendUint16(b, 0x0800)

	ip := len(b)
	b = append(b, 0x45, 0)
	b = be.AppendUint16(b, uint16(20+udpLen))
	b = append(b, 0, 0, 0x40, 0, 64, 17, 0, 0) // no fragments, TTL 64, UDP, checksum
	b = append(b, d.src.Addr().AsSlice()...)
	b = append(b, d.dst.Addr().AsSlice()...)
	be.PutUint16(b[ip+10:], ^sum(0, b[ip:ip+20]))

	b = be.AppendUint16(b, d.src.Port())
	b = be.AppendUint16(b, d.dst.Port())
	b = be.AppendUint16(b, uint16(udpLen))
	b = be.AppendUint16(b, sum(uint32(17+udpLen), b[ip+12:ip+20])) // the pseudo-header's
	return append(b, d.payload...)
}

// sum adds big-endian words of b to s, as RFC 1071 says. b has an even length.
func sum(s uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// channelData is size bytes of payload in a ChannelData message (RFC 8656 section
// 12.4), without padding: sizes here are multiples of four.
func channelData(channel uint16, size int) []byte {
	b := binary.BigEndian.AppendUint16(nil, channel)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	return append(b, make([]byte, size)...)
}
