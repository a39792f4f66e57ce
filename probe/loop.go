package probe

import (
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// A packet is: 4 bytes magic, 4 bytes number, then of an echo 8 bytes time of sending in
// nanoseconds since the loop began, of a receipt 4 bytes count; then zeros.
const (
	minPacket = 16

	magic        = 0x72746364 // "rtcd": to be returned
	magicBulk    = 0x72746362 // to be confirmed
	magicReceipt = 0x72746361 // the highest number that has come, and how many in all
)

// loop is a way from one relayed address to another and back.
type loop struct {
	a, b    net.PacketConn
	start   time.Time
	back    chan arrival
	news    chan struct{} // there is another receipt
	readers sync.WaitGroup

	mu      sync.Mutex // guards the following
	bulk    load
	receipt receipt // the last one
}

// arrival is one packet that came back.
type arrival struct {
	number int
	rtt    time.Duration
}

// receipt confirms bulk packets.
type receipt struct{ highest, count int }

// load is what has come to the far end, the first packet aside: it starts the clock.
type load struct {
	packets     int
	bytes       int
	first, last time.Time
}

// newLoop reads at both ends until it is closed. Up to packets are echoed.
func newLoop(a, b net.PacketConn, packets int) *loop {
	l := &loop{a: a, b: b, start: time.Now(), back: make(chan arrival, packets), news: make(chan struct{}, 1)}
	// The loop owns both; the end of their relay connection ends them.
	l.readers.Go(l.mirror)
	l.readers.Go(l.collect)
	return l
}

func (l *loop) close() {
	l.a.Close()
	l.b.Close()
	l.readers.Wait()
}

// send sends a packet with a number from a to b.
func (l *loop) send(packet []byte, magic uint32, number int) error {
	binary.BigEndian.PutUint32(packet, magic)
	binary.BigEndian.PutUint32(packet[4:], uint32(number))
	binary.BigEndian.PutUint64(packet[8:], uint64(time.Since(l.start)))
	_, err := l.a.WriteTo(packet, l.b.LocalAddr())
	return err
}

// collect tells of the packets that come back.
func (l *loop) collect() {
	b := make([]byte, 64<<10)
	for {
		n, _, err := l.a.ReadFrom(b)
		if err != nil {
			return
		}
		if n < minPacket {
			continue
		}
		number := int(binary.BigEndian.Uint32(b[4:]))
		switch binary.BigEndian.Uint32(b) {
		case magic:
			sent := time.Duration(binary.BigEndian.Uint64(b[8:]))
			select {
			case l.back <- arrival{number, time.Since(l.start) - sent}:
			default: // more than were sent
			}
		case magicReceipt:
			l.confirm(receipt{number, int(binary.BigEndian.Uint32(b[8:]))})
		}
	}
}

// mirror returns or confirms every packet.
func (l *loop) mirror() {
	b := make([]byte, 64<<10)
	highest := 0
	for {
		n, _, err := l.b.ReadFrom(b)
		if err != nil {
			return
		}
		if n < minPacket {
			continue
		}
		switch binary.BigEndian.Uint32(b) {
		case magic:
		case magicBulk:
			highest = max(highest, int(binary.BigEndian.Uint32(b[4:])))
			count := l.take(n)
			n = minPacket
			binary.BigEndian.PutUint32(b, magicReceipt)
			binary.BigEndian.PutUint32(b[4:], uint32(highest))
			binary.BigEndian.PutUint32(b[8:], uint32(count))
		default:
			continue
		}
		if _, err := l.b.WriteTo(b[:n], l.a.LocalAddr()); err != nil {
			return
		}
	}
}

// take counts a bulk packet of so many bytes and returns how many there were.
func (l *loop) take(n int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := &l.bulk
	w.last = time.Now()
	if w.packets == 0 {
		w.first = w.last
	} else {
		w.bytes += n
	}
	w.packets++
	return w.packets
}

func (l *loop) confirm(r receipt) {
	l.mu.Lock()
	l.receipt = r
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default: // somebody will look
	}
}

func (l *loop) confirmed() receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.receipt
}

func (l *loop) taken() load {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bulk
}
