package loads

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"rtcd/test/soak"
	"rtcd/test/turnclient"
)

func TestF12StalledReaders(t *testing.T) {
	const size = 1400
	count, rate := either(8, 64), either(500, 250)
	row := newRow(t, "F12", fmt.Sprintf("%d clients over TCP stop reading while a peer sends each of them %d packets/s of %d B", count, rate, size))
	s := serve(t)
	peer, err := world.peers.ListenPacket(t.Context(), netip.AddrPortFrom(world.peers.IP4, 0).String())
	must(t, err)
	defer peer.Close()
	var stalled []*turnclient.Client
	for i := range count {
		c := s.mustDial(t, "tcp", fmt.Sprintf("stalled%d", i))
		must(t, c.Conn.(*net.TCPConn).SetReadBuffer(4096))
		must(t, c.Allocate())
		must(t, c.Bind(channel, netip.MustParseAddrPort(peer.LocalAddr().String())))
		stalled = append(stalled, c)
	}
	idle := s.descriptors()

	o := soak.Options{Calls: 5, Outside: 10, Rate: either(1000., 5000), For: either(12*time.Second, 30*time.Second)}
	o.During = func() error {
		begin, before := time.Now(), s.resident(t)
		peak, err := s.stall(t, peer, stalled, rate, make([]byte, size))
		each := max(0, peak-before) / float64(count)
		row.figure("the last was closed after %s; memory grew by %s, %.0f kB each", seconds(time.Since(begin)), mebibytes(peak-before), each/1000)
		// What grows meanwhile for other reasons counts for less the more clients there are.
		if long() && each > 256_000 {
			t.Errorf("a client that reads nothing costs %.0f kB, want less than 256", each/1000)
		}
		return err
	}
	r := load(t, s, o)
	row.wantAccount(r, "rtcd: queue_full", "rtcd: no_permission", "rtcd: no_allocation", "srv: Udp NoPorts")
	if n := s.metric(t, `rtcd_turn_connections_ended_total\{reason="slow_reader"\}`); int(n) != count {
		t.Errorf("%v connections ended as slow readers, want %d", n, count)
	}
	s.wantIdle(t, row, idle-2*count)
}

// stall sends to all clients until the server has put them all out, and returns the most memory that it had meanwhile.
func (s *server) stall(t *testing.T, from net.PacketConn, to []*turnclient.Client, rate int, packet []byte) (peak float64, err error) {
	const tick = 10 * time.Millisecond
	start, look := time.Now(), time.Now()
	for due := 0.0; ; time.Sleep(tick) {
		for due += float64(rate) * tick.Seconds(); due >= 1; due-- {
			for _, c := range to {
				_, _ = from.WriteTo(packet, net.UDPAddrFromAddrPort(c.Relayed)) // what is lost does not stall
			}
		}
		if time.Since(look) < 200*time.Millisecond {
			continue
		}
		look = time.Now()
		peak = max(peak, s.resident(t))
		if s.metric(t, `rtcd_turn_connections\{transport="tcp"\}`) == 0 {
			return peak, nil
		}
		if time.Since(start) > 2*time.Minute {
			return peak, errors.New("clients that do not read are not put out")
		}
	}
}
