package loads

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"
)

// beat is the time between two packets of a pulse.
const beat = 5 * time.Millisecond

// pulse is a relayed flow by which pauses of the relay show: a packet each beat, from a client to a peer.
type pulse struct {
	from net.Conn
	to   net.PacketConn
}

func (s *server) pulse(t *testing.T) *pulse {
	t.Helper()
	peer, err := world.peers.ListenPacket(t.Context(), netip.AddrPortFrom(world.peers.IP4, 0).String())
	must(t, err)
	t.Cleanup(func() { _ = peer.Close() })
	c := s.mustDial(t, "udp", "pulse")
	must(t, c.Allocate())
	must(t, c.Bind(channel, netip.MustParseAddrPort(peer.LocalAddr().String())))
	return &pulse{c.Conn, peer}
}

// gap is the longest time between two arrivals while something is done. The generator's own pauses are in it.
func (p *pulse) gap(what func()) (longest time.Duration, err error) {
	ctx, stop := context.WithCancel(context.Background())
	var both sync.WaitGroup
	var sending, receiving error
	arrivals := 0
	// gap owns both; stop ends them.
	both.Go(func() {
		clock := time.NewTicker(beat)
		defer clock.Stop()
		for ctx.Err() == nil && sending == nil {
			<-clock.C
			_, sending = p.from.Write([]byte("\x40\x00\x00\x04beat"))
		}
	})
	both.Go(func() {
		var last time.Time
		for buf := make([]byte, 64); ctx.Err() == nil && receiving == nil; {
			if receiving = p.to.SetReadDeadline(time.Now().Add(time.Second)); receiving != nil {
				return
			}
			_, _, err := p.to.ReadFrom(buf)
			if err != nil {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					receiving = err
				}
				continue
			}
			now := time.Now()
			if arrivals++; !last.IsZero() {
				longest = max(longest, now.Sub(last))
			}
			last = now
		}
	})
	what()
	stop()
	both.Wait()
	if err := errors.Join(sending, receiving); err != nil || arrivals < 2 {
		return 0, errors.Join(err, fmt.Errorf("%d packets arrived", arrivals))
	}
	return longest, nil
}
