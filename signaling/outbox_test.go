package signaling

import (
	"math/rand/v2"
	"testing"
)

var small = Limits{Queue: 8, QueueBytes: 1 << 20}

// TestOutboxLosesAndDoublesNothing plays a queue against a reader whose socket is
// lost again and again.
func TestOutboxLosesAndDoublesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var o outbox
		var onWire []Frame
		seen, pushed := uint64(0), uint64(0)
		for range 500 {
			switch r.IntN(6) {
			case 0, 1:
				if o.push(&Event{Type: TypeMessage}, true, small) {
					pushed++
				}
			case 2:
				o.push(&Event{Type: TypePong}, false, small)
			case 3:
				if n := 1 + r.IntN(4); o.next+n <= 2*small.Queue { // beyond that the oldest is forgotten
					onWire = o.take(onWire, n, small)
				}
			case 4: // some of it arrives
				n := r.IntN(len(onWire) + 1)
				for _, f := range onWire[:n] {
					if f.Seq == 0 {
						continue
					}
					if f.Seq != seen+1 {
						t.Fatalf("got %d after %d", f.Seq, seen)
					}
					seen = f.Seq
				}
				onWire = onWire[n:]
				o.ack(seen)
			case 5: // the rest is lost
				if !o.rewind(seen) {
					t.Fatalf("cannot go back to %d: floor %d", seen, o.floor)
				}
				onWire = nil
			}
			if len(o.frames) > 3*small.Queue+1 || o.next > 2*small.Queue || o.sentBytes < 0 || o.waitingBytes < 0 {
				t.Fatalf("out of bounds: %+v", o)
			}
		}
		o.rewind(seen)
		for _, f := range o.take(nil, 100, small) {
			if f.Seq != seen+1 {
				t.Fatalf("got %d after %d", f.Seq, seen)
			}
			seen = f.Seq
		}
		if seen != pushed {
			t.Fatalf("%d of %d arrived", seen, pushed)
		}
		if o.ack(seen); o.frames != nil || o.sentBytes != 0 || o.waitingBytes != 0 {
			t.Fatalf("an idle queue holds %+v", o)
		}
	}
}

func TestOutboxForgetsTheOldest(t *testing.T) {
	var o outbox
	for range 20 {
		o.push(&Event{}, true, small)
		o.take(nil, 1, small)
	}
	if o.rewind(3) {
		t.Fatal("4 is forgotten")
	}
	if !o.rewind(4) {
		t.Fatal("5 to 20 are kept")
	}
	if o.rewind(21) {
		t.Fatal("21 was never sent")
	}
}

func TestOutboxIsFullByBytes(t *testing.T) {
	limit := Limits{Queue: 100, QueueBytes: 1000}
	var o outbox
	if !o.push(&Event{Data: make([]byte, 5000)}, true, limit) {
		t.Fatal("one message always fits")
	}
	if o.push(&Event{}, true, limit) {
		t.Fatal("full")
	}
	o.take(nil, 1, limit)
	if !o.push(&Event{}, true, limit) {
		t.Fatal("there is room again")
	}
}
