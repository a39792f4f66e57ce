package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// A packet is: 4 bytes magic, 4 bytes number, 8 bytes time of sending in
// nanoseconds since the start of the echo, then zeros.
const (
	minPacket = 16
	magic     = 0x72746364 // "rtcd"
)

// straggle is how long to wait for the last packets.
const straggle = time.Second

// echo sends packets from a to b, which returns them, and measures.
func (p *prober) echo(ctx context.Context, a, b net.PacketConn) (string, error) {
	var wg sync.WaitGroup
	start := time.Now()
	// Both end when their relay connection is closed below.
	wg.Go(func() { mirror(b, a.LocalAddr()) })
	back := make(chan arrival, p.o.Packets)
	wg.Go(func() { collect(a, start, back) })
	defer func() {
		a.Close()
		b.Close()
		wg.Wait()
	}()

	echo := &Echo{Bytes: p.o.Size}
	p.report.Echo = echo
	var rtts []time.Duration
	seen := make([]bool, p.o.Packets)
	last := -1
	take := func(r arrival) {
		if r.number >= len(seen) || seen[r.number] {
			return
		}
		seen[r.number] = true
		if r.number < last {
			echo.OutOfTurn++
		}
		last = max(last, r.number)
		rtts = append(rtts, r.rtt)
	}
	packet := make([]byte, p.o.Size)
	binary.BigEndian.PutUint32(packet, magic)
	tick := time.NewTicker(p.o.Interval)
	defer tick.Stop()
	for echo.Sent < p.o.Packets {
		binary.BigEndian.PutUint32(packet[4:], uint32(echo.Sent))
		binary.BigEndian.PutUint64(packet[8:], uint64(time.Since(start)))
		if _, err := a.WriteTo(packet, b.LocalAddr()); err != nil {
			return "", err
		}
		echo.Sent++
		for waiting := true; waiting; {
			select {
			case r := <-back:
				take(r)
			case <-tick.C:
				waiting = false
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
	}
	late := time.After(straggle)
	for waiting := true; waiting && len(rtts) < echo.Sent; {
		select {
		case r := <-back:
			take(r)
		case <-late:
			waiting = false
		}
	}
	echo.measure(rtts)
	if echo.Received == 0 {
		return "", errNothingBack
	}
	return fmt.Sprintf("%d of %d came back, %.1f ms", echo.Received, echo.Sent, echo.MedianMs), nil
}

var errNothingBack = errors.New("allocated and permitted, but no packet came through the relay")

func (e *Echo) measure(rtts []time.Duration) {
	e.Received = len(rtts)
	e.Loss = 1 - float64(e.Received)/float64(e.Sent)
	if len(rtts) == 0 {
		return
	}
	slices.Sort(rtts)
	e.MinMs = millis(rtts[0])
	e.MedianMs = millis(rtts[len(rtts)/2])
	e.P95Ms = millis(rtts[(len(rtts)*95+99)/100-1])
}

// arrival is one packet that came back.
type arrival struct {
	number int
	rtt    time.Duration
}

// collect tells of the packets that come back, until conn is closed.
func collect(conn net.PacketConn, start time.Time, back chan<- arrival) {
	b := make([]byte, 64<<10)
	for {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		if n < minPacket || binary.BigEndian.Uint32(b) != magic {
			continue
		}
		sent := time.Duration(binary.BigEndian.Uint64(b[8:]))
		select {
		case back <- arrival{int(binary.BigEndian.Uint32(b[4:])), time.Since(start) - sent}:
		default: // more than were sent
		}
	}
}

// mirror returns every packet to peer, until conn is closed.
func mirror(conn net.PacketConn, peer net.Addr) {
	b := make([]byte, 64<<10)
	for {
		n, _, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		if n < minPacket || binary.BigEndian.Uint32(b) != magic {
			continue
		}
		if _, err := conn.WriteTo(b[:n], peer); err != nil {
			return
		}
	}
}
