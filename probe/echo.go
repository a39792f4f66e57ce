package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// straggle is how long to wait for the last packets.
const straggle = time.Second

// echo sends packets, which are returned, and measures.
func (p *prober) echo(ctx context.Context, l *loop) (string, error) {
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
	tick := time.NewTicker(p.o.Interval)
	defer tick.Stop()
	for echo.Sent < p.o.Packets {
		if err := l.send(packet, magic, echo.Sent); err != nil {
			return "", err
		}
		echo.Sent++
		for waiting := true; waiting; {
			select {
			case r := <-l.back:
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
		case r := <-l.back:
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
