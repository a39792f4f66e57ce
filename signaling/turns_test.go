package signaling

import (
	"fmt"
	"sync"
	"testing"
)

// hatch is a pad that can be full: then TrySend takes one frame at most, and Send waits
// until it is opened.
type hatch struct {
	*pad
	full chan struct{} // closed when there is room again; nil: there always is
}

func (h *hatch) Prompt() bool { return true }

func (h *hatch) TrySend(batch []Frame) (rest []Frame, room bool, err error) {
	if h.full == nil {
		return nil, true, h.pad.Send(batch)
	}
	h.pad.Send(batch[:1])
	return batch[1:], false, nil
}

func (h *hatch) Send(batch []Frame) error {
	if h.full != nil && len(batch) > 0 && batch[0].Event.Type != TypeWelcome {
		<-h.full
	}
	return h.pad.Send(batch)
}

// TestWhoHasNoRoomHoldsUpNobody: of many receivers of many messages one has no room. The
// others hear all, and so does that one when it has room again, in order, and then its close.
func TestWhoHasNoRoomHoldsUpNobody(t *testing.T) {
	const others = turnsInRow + 10 // more than one row
	w := newWorld(t, Options{Limits: Limits{Members: others + 2}})
	open := func(full chan struct{}) (*Session, *hatch) {
		h := &hatch{newPad(), full}
		s, err := w.hub.Open(Hello{Tenant: "app", Join: Message{Room: "r"}}, h)
		if err != nil {
			t.Fatal(err)
		}
		if e := h.next(); e.Type != TypeWelcome {
			t.Fatalf("%+v", e)
		}
		return s, h
	}
	full := make(chan struct{})
	makeRoom := sync.OnceFunc(func() { close(full) })
	t.Cleanup(makeRoom)
	speaker, _ := open(nil)
	narrow, stuck := open(full)
	hears := make([]*hatch, others)
	for i := range hears {
		_, hears[i] = open(nil)
	}
	const messages = 20
	for i := range messages {
		speaker.Apply(Message{Type: TypeMessage, To: "#r", Data: fmt.Appendf(nil, "%d", i)})
	}
	wantAll := func(who string, h *hatch) {
		for i := 0; i < messages; {
			e := h.next()
			if e.Type == TypePeer {
				continue // somebody joined
			}
			if want := fmt.Sprint(i); string(e.Data) != want {
				t.Fatalf("%s hears %s, want %s", who, e.Data, want)
			}
			i++
		}
	}
	for i, h := range hears {
		wantAll(fmt.Sprintf("member %d", i), h)
	}
	narrow.End()
	makeRoom()
	wantAll("who had no room", stuck)
	<-stuck.more
	stuck.mu.Lock()
	defer stuck.mu.Unlock()
	if len(stuck.events) != 0 || len(stuck.closed) != 1 || stuck.closed[0] != CloseNormal {
		t.Fatalf("%d more events, closed with %v, want one %d", len(stuck.events), stuck.closed, CloseNormal)
	}
}
