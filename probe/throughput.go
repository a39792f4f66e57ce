package probe

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	bulkSize    = 1200            // bytes of a packet: what paths carry whole
	firstWindow = 16              // packets on their way
	mostWindow  = 4096            // as many as 5 MB
	noReceipt   = time.Second / 4 // at least; then all that are on their way count as lost
)

// throughput sends as much as arrives, for as long as it is told to, and measures what
// comes to the other relayed address.
func (p *prober) throughput(ctx context.Context, l *loop) (string, error) {
	w := window{size: firstWindow, slow: true}
	packet := make([]byte, bulkSize)
	patience := max(noReceipt, time.Duration(3*p.report.Echo.P95Ms*float64(time.Millisecond)))
	end, silence := time.NewTimer(p.o.Throughput), time.NewTimer(patience)
	defer end.Stop()
	defer silence.Stop()
	for sending := true; sending; {
		for w.open() && sending {
			w.sent++
			if err := l.send(packet, magicBulk, w.sent); err != nil {
				return "", err
			}
			select {
			case <-l.news:
				w.take(l.confirmed())
				silence.Reset(patience)
			case <-end.C: // also where nothing ever fills the window
				sending = false
			default:
			}
		}
		if !sending {
			break
		}
		select {
		case <-l.news:
			w.take(l.confirmed())
			silence.Reset(patience)
		case <-silence.C:
			w.restart()
			silence.Reset(patience)
		case <-end.C:
			sending = false
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	t := w.settle(ctx, l)
	p.report.Throughput = t
	if t.Mbps == 0 {
		return "", errNoBulk
	}
	return fmt.Sprintf("%.1f Mbit/s came through, %.1f %% of what was sent did not", t.Mbps, 100*t.Loss), nil
}

var errNoBulk = errors.New("single packets come through the relay, many at once do not")

// window says how many packets may be on their way: twice as many with each round trip
// until the first loss, after that half as many with each and slowly more (RFC 5681 in
// its outlines).
type window struct {
	size    float64 // packets
	slow    bool    // slow start
	sent    int     // the number of the last one
	highest int     // number that has come
	count   int     // that have come
	lost    int
	until   int // losses up to here have been answered
	floor   int // what was sent before a silence is not on its way
}

func (w *window) open() bool { return float64(w.sent-max(w.highest, w.floor)) < w.size }

// take learns of what has come.
func (w *window) take(r receipt) {
	fresh := r.count - w.count
	if fresh <= 0 {
		return
	}
	w.count, w.highest = r.count, max(w.highest, r.highest)
	if missing := w.highest - w.count; missing > w.lost {
		w.lost = missing
		if w.highest > w.until {
			w.until, w.slow = w.sent, false
			w.size = max(2, w.size/2)
		}
		return
	}
	if w.slow {
		w.size += float64(fresh)
	} else {
		w.size += float64(fresh) / w.size
	}
	w.size = min(w.size, mostWindow)
}

// restart begins anew after a silence.
func (w *window) restart() {
	w.floor, w.until, w.lost = w.sent, w.sent, w.sent-w.count
	w.size, w.slow = firstWindow, true
}

// settle waits for the last packets and says what has come.
func (w *window) settle(ctx context.Context, l *loop) *Throughput {
	for late := time.After(straggle); l.taken().packets < w.sent; {
		select {
		case <-l.news:
			continue
		case <-late:
		case <-ctx.Done():
		}
		break
	}
	got := l.taken()
	t := &Throughput{Bytes: bulkSize, Sent: w.sent, Received: got.packets, Loss: 1 - float64(got.packets)/float64(w.sent)}
	if seconds := got.last.Sub(got.first).Seconds(); seconds > 0 {
		t.Mbps = float64(got.bytes) * 8 / 1e6 / seconds
	}
	return t
}
