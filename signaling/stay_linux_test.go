package signaling

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// masking is a text message as a client sends it, in one frame.
func masking(text string) []byte {
	head := appendHeader(nil, finText, len(text))
	head[1] |= masked
	return append(append(head, 0, 0, 0, 0), text...)
}

// TestWhateverComesTogether: small messages, large ones, control frames and messages cut up
// come in all kinds of pieces, and all are taken, in order.
func TestWhateverComesTogether(t *testing.T) {
	o := unpinged
	o.Limits = Limits{Rate: 1e6, Burst: 1e6, ByteBurst: 1e9}
	eachWire(t, o, func(t *testing.T, w *world) {
		ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
		bob, welcome := w.enter("bob", `{"type":"hello","room":"r"}`)
		ann.want(`{"event":"join"}`)
		said := 0
		message := func(pad int) string {
			said++
			return fmt.Sprintf(`{"type":"signal","to":"%s","kind":"k","data":"%d%s"}`, welcome.str("peer"), said, strings.Repeat("x", pad))
		}
		var all []byte
		for i, pad := range []int{0, 0, 5, 100, 1900, 0, readBuffer - 140, readBuffer, 3 * readBuffer, 60_000, 0} {
			all = append(all, masking(message(pad))...)
			all = append(all, fragment([]byte{finPing, finPong}[i%2], "p")...)
			m := message(0)
			all = append(all, fragment(websocket.TextMessage, m[:9])...)
			all = append(all, fragment(0, m[9:20])...)
			all = append(all, fragment(0x80, m[20:])...)
			all = append(all, masking(message(1))...)
			all = append(all, masking(message(0))...)
		}
		wantAll := func(first int) {
			for i := first; i <= said; i++ {
				f := bob.hear()
				if data := f.str("data"); f["type"] != TypeSignal || strings.TrimRight(data, "x") != fmt.Sprint(i) {
					t.Fatalf("bob hears %.200v, want signal %d", f, i)
				}
			}
		}
		go func() { // as many bytes at once as there are; ends with the socket
			for piece := 1; len(all) > 0; piece = piece%3000 + 61 {
				n := min(piece, len(all))
				if _, err := ann.conn.NetConn().Write(all[:n]); err != nil {
					t.Error(err)
					return
				}
				all = all[n:]
			}
		}()
		wantAll(1)
		w.wantParked(2)
		first := said + 1
		var some []byte
		for range 200 {
			some = append(some, masking(message(3))...)
		}
		if _, err := ann.conn.NetConn().Write(some); err != nil {
			t.Fatal(err)
		}
		wantAll(first)
	})
}

// TestLastWords: an end that comes together with a message is seen, too.
func TestLastWords(t *testing.T) {
	eachWire(t, unpinged, func(t *testing.T, w *world) {
		ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
		for range 10 {
			bob, _ := w.enter("bob", `{"type":"hello","room":"r"}`)
			ann.want(`{"event":"join"}`)
			bob.conn.NetConn().Write(masking(`{"type":"message","to":"#r","data":"adieu"}`))
			bob.cut()
			ann.want(`{"data":"adieu"}`)
			ann.want(`{"event":"away"}`)
		}
	})
}

// TestAPanicKeepsNothingBack: what was said before it is heard, and so is what follows.
func TestAPanicKeepsNothingBack(t *testing.T) {
	w := newWorld(t, Options{ICE: &faulty{every: 3}})
	ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
	bob, _ := w.enter("bob", `{"type":"hello","room":"r"}`)
	ann.want(`{"event":"join"}`)
	var all []byte
	for _, text := range []string{
		`{"type":"message","to":"#r","data":"one"}`,
		`{"type":"leave","room":"r"}`,
		`{"type":"join","room":"q"}`,
	} {
		all = append(all, masking(text)...)
	}
	bob.conn.NetConn().Write(all)
	ann.want(`{"data":"one"}`)
	ann.want(`{"event":"leave"}`)
	bob.wantClosed(CloseInternal)
	cat, _ := w.enter("cat", `{"type":"hello","room":"r"}`)
	ann.want(`{"event":"join"}`)
	cat.say(`{"type":"message","to":"#r","data":"two"}`)
	ann.want(`{"data":"two"}`)
}

// TestNobodyWaitsForAWriter: while somebody else writes to a socket nothing is taken, nothing
// lost, and nothing sent twice.
func TestNobodyWaitsForAWriter(t *testing.T) {
	wire, _ := tcpPair(t)
	wire.mu.Lock()
	if all, err := wire.trySend([]byte("x")); all || !errors.Is(err, errBusy) {
		t.Fatal(all, err)
	}
	wire.mu.Unlock()
	batch := make([]Frame, 5)
	for i := range batch {
		batch[i].Event = &Event{Type: TypeMessage, Data: bytes.Repeat([]byte{byte('0' + i)}, maxKept/3)}
	}
	c := &socket{hub: &Hub{}, wire: wire}
	for busy := 1; busy <= 3; busy++ {
		var sent []byte
		calls := 0
		rest, room, err := c.send(batch, func(p []byte) (bool, error) {
			if calls++; calls == busy {
				return false, errBusy
			}
			sent = append(sent, p...)
			return true, nil
		})
		if err != nil || room {
			t.Fatal(busy, room, err)
		}
		for i, f := range batch {
			n := bytes.Count(sent, f.Event.Data)
			if i >= len(batch)-len(rest) {
				n++
			}
			if n != 1 {
				t.Errorf("busy in write %d: frame %d is sent or left %d times", busy, i, n)
			}
		}
	}
}
