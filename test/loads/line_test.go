package loads

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"rtcd/test/lab"
	"rtcd/test/turnclient"
)

// F6: what a bad line loses or doubles, and nothing else, is lost and doubled in a relayed flow; requests that are repeated
// over it make one allocation each. (That whole calls come about over such lines is in package natlab.)
func TestF6BadLine(t *testing.T) {
	if !long() {
		return
	}
	const packets, clients = 5000, 100
	line := lab.Impairment{Loss: 0.05, Twice: 0.02, Delay: 40 * time.Millisecond}
	row := newRow(t, "F6", fmt.Sprintf("a client's line loses %v %%, doubles %v %% and takes %v each way; then %d clients over one that loses 20 %%", 100*line.Loss, 100*line.Twice, line.Delay, clients))
	home, err := world.net.AddNAT("line", 0x34, lab.FullCone)
	must(t, err)
	s := serve(t)
	peer, err := world.peers.ListenPacket(t.Context(), netip.AddrPortFrom(world.peers.IP4, 0).String())
	must(t, err)
	defer peer.Close()
	dial := func(user string) *turnclient.Client {
		c, err := s.dial(home.Client, "udp", user)
		must(t, err)
		t.Cleanup(func() { _ = c.Conn.Close() })
		return c
	}
	c := dial("line")
	must(t, c.Allocate())
	must(t, c.Bind(channel, netip.MustParseAddrPort(peer.LocalAddr().String())))

	must(t, home.Impair(line))
	_, before := home.Tolls()
	up := stamped{to: c.Conn.Write}
	up.run(t, packets, peer)
	_, after := home.Tolls()
	lost, doubled := int(after.Lost-before.Lost), int(after.Doubled-before.Doubled)
	row.figure("to the peer: %d sent, the line lost %d and doubled %d; %d missing, %d twice", packets, lost, doubled, packets-up.once, up.twice)
	if packets-up.once != lost || up.twice != doubled || lost == 0 || doubled == 0 {
		t.Errorf("to the peer: %d missing and %d twice, want %d and %d", packets-up.once, up.twice, lost, doubled)
	}

	before, _ = home.Tolls()
	down := stamped{to: func(b []byte) (int, error) { return peer.WriteTo(b[4:], net.UDPAddrFromAddrPort(c.Relayed)) }}
	down.run(t, packets, c.Conn.(net.PacketConn))
	after, _ = home.Tolls()
	lost, doubled = int(after.Lost-before.Lost), int(after.Doubled-before.Doubled)
	row.figure("to the client: the line lost %d and doubled %d; %d missing, %d twice", lost, doubled, packets-down.once, down.twice)
	if packets-down.once != lost || down.twice != doubled || lost == 0 || doubled == 0 {
		t.Errorf("to the client: %d missing and %d twice, want %d and %d", packets-down.once, down.twice, lost, doubled)
	}

	must(t, home.Impair(lab.Impairment{Loss: 0.2, Twice: 0.1, Delay: 40 * time.Millisecond}))
	list := make([]*turnclient.Client, clients)
	for i := range list {
		list[i] = dial(fmt.Sprintf("user%d", i))
	}
	begin := time.Now()
	var failed atomic.Int32
	must(t, each(list, func(_ int, c *turnclient.Client) error {
		if err := c.Allocate(); err != nil {
			t.Log(err)
			failed.Add(1)
		}
		return nil
	}))
	allocated := clients - int(failed.Load())
	row.figure("%d of %d allocated after %s; the server has %d", allocated, clients, seconds(time.Since(begin)), s.allocations(t)-1)
	if allocated < clients*99/100 { // seven tries of a request are all lost once in 1,300 times
		t.Errorf("%d of %d allocated, want 99 %%", allocated, clients)
	}
	if n := s.allocations(t); n < allocated+1 || n > clients+1 {
		t.Errorf("%d allocations, want %d to %d: a repeated request has made another", n, allocated+1, clients+1)
	}
}

// stamped sends numbered packets, and counts what comes at the other end.
type stamped struct {
	to          func([]byte) (int, error)
	once, twice int // numbers that came, and copies of them
}

// run sends so many, a few each millisecond, and listens until nothing more comes.
func (s *stamped) run(t *testing.T, packets int, at net.PacketConn) {
	t.Helper()
	sent := make(chan error, 1)
	// run owns it; it ends with the last packet.
	go func() {
		frame := []byte{channel >> 8, channel & 0xff, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0}
		for i := range packets {
			binary.BigEndian.PutUint32(frame[8:], uint32(i))
			if _, err := s.to(frame); err != nil {
				sent <- err
				return
			}
			if i%4 == 3 {
				time.Sleep(time.Millisecond)
			}
		}
		sent <- nil
	}()
	const quiet = 3 * time.Second
	seen := map[uint32]bool{}
	for buf := make([]byte, 64); ; {
		must(t, at.SetReadDeadline(time.Now().Add(quiet)))
		n, _, err := at.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		must(t, err)
		if n < 4 {
			t.Fatalf("%d bytes came", n)
		}
		number := binary.BigEndian.Uint32(buf[n-4:])
		if seen[number] {
			s.twice++
		}
		seen[number] = true
	}
	must(t, <-sent)
	s.once = len(seen)
}
