//go:build linux

package soak

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rtcd/test/turnclient"
)

// A payload is numbered, and the rest of it follows from the number:
//
//	stream(32) number(32) filling
const headerSize = 8

// MinSize is the least size of a payload, in bytes.
const MinSize = headerSize

// channel is the one that each client binds.
const channel = 0x4000

// stream is one direction of one flow.
type stream struct {
	id    uint32
	size  int    // of a payload
	unit  int    // of a packet, which has the payload at its end
	frame []byte // what is written: the packets of a burst
	write func([]byte) error
	sent  uint32 // packets; the sender's

	in arrivals
}

// send writes the next burst. One that the kernel does not take does not count.
func (s *stream) send() error {
	n := uint32(len(s.frame) / s.unit)
	for i := range n {
		packet := s.frame[int(i)*s.unit:][:s.unit]
		fill(packet[s.unit-s.size:], s.id, s.sent+i)
	}
	err := s.write(s.frame)
	if err == nil {
		s.sent += n
	}
	return err
}

// sendJoined writes packets of unit bytes each, to a connected socket if to is invalid,
// in one call that the kernel cuts up as late as it can (UDP_SEGMENT in udp(7)).
func sendJoined(conn *net.UDPConn, b []byte, unit int, to netip.AddrPort) error {
	oob := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], uint16(unit))
	_, _, err := conn.WriteMsgUDPAddrPort(b, oob, to)
	return err
}

func fill(payload []byte, id, number uint32) {
	binary.BigEndian.PutUint32(payload, id)
	binary.BigEndian.PutUint32(payload[4:], number)
	for i := range payload[headerSize:] {
		payload[headerSize+i] = byte(number) + byte(i)
	}
}

// arrivals is what has come at the far end of a stream. It belongs to the reader there.
type arrivals struct {
	seen []uint64 // a bit for each number
	next uint32   // the highest number so far plus 1
	arrivalCounts
}

type arrivalCounts struct {
	received   uint64 // each number once
	duplicates uint64
	reordered  uint64 // came after a later one
	corrupt    uint64 // of another stream, size or filling
}

func (c *arrivalCounts) add(o arrivalCounts) {
	c.received += o.received
	c.duplicates += o.duplicates
	c.reordered += o.reordered
	c.corrupt += o.corrupt
}

// take checks a payload.
func (s *stream) take(payload []byte) {
	a := &s.in
	if len(payload) != s.size || binary.BigEndian.Uint32(payload) != s.id {
		a.corrupt++
		return
	}
	number := binary.BigEndian.Uint32(payload[4:])
	for i, b := range payload[headerSize:] {
		if b != byte(number)+byte(i) {
			a.corrupt++
			return
		}
	}
	word, bit := int(number/64), uint64(1)<<(number%64)
	for word >= len(a.seen) {
		a.seen = append(a.seen, 0)
	}
	switch {
	case a.seen[word]&bit != 0:
		a.duplicates++
		return
	case number < a.next:
		a.reordered++
	default:
		a.next = number + 1
	}
	a.seen[word] |= bit
	a.received++
}

// party is one allocation: its client, where it sends, and what comes to it.
type party struct {
	client *turnclient.Client
	peer   netip.AddrPort // of its channel
	in     *stream        // what the client receives
}

// How long a party's allocation and channel are left alone. Both last ten minutes.
const keepEvery = 3 * time.Minute

// tick bounds how long a reader waits before it looks whether it is to end.
const tick = 500 * time.Millisecond

// read takes what comes to the client, and keeps its allocation alive, until stop.
func (p *party) read(stop <-chan struct{}, total *atomic.Uint64) error {
	take := func(message []byte) {
		if len(message) >= 4 && message[0]>>6 == 1 {
			p.in.take(message[4:])
			total.Add(1)
		}
	}
	p.client.Other = take
	next := time.Now().Add(keepEvery)
	for !closed(stop) {
		if time.Now().After(next) {
			next = next.Add(keepEvery)
			if err := errors.Join(p.client.Refresh(10*time.Minute), p.client.Bind(channel, p.peer)); err != nil {
				return err
			}
		}
		if err := p.client.Conn.SetReadDeadline(time.Now().Add(tick)); err != nil {
			return err
		}
		message, err := p.client.Read()
		if err == nil {
			take(message)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return nil
}

// readPeer takes what comes to a peer's socket until stop.
func readPeer(conn *net.UDPConn, in *stream, stop <-chan struct{}, total *atomic.Uint64) error {
	buf := make([]byte, 2048)
	for !closed(stop) {
		if err := conn.SetReadDeadline(time.Now().Add(tick)); err != nil {
			return err
		}
		n, err := conn.Read(buf)
		if err == nil {
			in.take(buf[:n])
			total.Add(1)
		} else if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
	return nil
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
