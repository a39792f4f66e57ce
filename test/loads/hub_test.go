package loads

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// frame is any message of the hub (rtcd.v1, see PROTOCOL.md).
type frame struct {
	Type, Code, Message, From, Peer, Resume string
	Resumed                                 bool
	Seq                                     uint64
	RetryAfter                              float64
	Data                                    numbered
}

// numbered is what a member says to its room.
type numbered struct {
	N  int           // 1, 2, 3 …
	At time.Duration // since the load's start
}

// member is one WebSocket in one room, which is opened again when it is lost.
type member struct {
	room string
	hear func(from string, what numbered)

	welcomes, refusals atomic.Int64
	goings             atomic.Int64

	mu           sync.Mutex // guards what follows
	conn         *websocket.Conn
	peer, resume string
	seq          uint64
	sent         int
}

// hub is all members.
type hub struct {
	members []*member
	stop    context.CancelFunc
	tasks   sync.WaitGroup
	back    []int64 // welcomes of each that were waited for
}

// joinAll brings so many members into so many rooms, until the end of the test.
func joinAll(t *testing.T, s *server, members, rooms int, hear ...func(m int, from string, what numbered)) *hub {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	h := &hub{stop: stop, back: make([]int64, members)}
	for i := range members {
		m := &member{room: fmt.Sprintf("room %d", i%rooms), hear: func(string, numbered) {}}
		if len(hear) > 0 {
			m.hear = func(from string, what numbered) { hear[0](i, from, what) }
		}
		h.members = append(h.members, m)
	}
	t.Cleanup(h.end)
	for _, m := range h.members {
		// The hub owns it; the context ends it.
		h.tasks.Go(func() { m.run(ctx) })
	}
	h.wantAllBack(t)
	return h
}

// end closes all sockets and waits for the readers.
func (h *hub) end() {
	h.stop()
	h.tasks.Wait()
}

// wantAllBack waits until every member has been welcomed once more.
func (h *hub) wantAllBack(t *testing.T) {
	t.Helper()
	for i, m := range h.members {
		eventually(t, "a member is in its room", func() bool { return m.welcomes.Load() > h.back[i] })
		h.back[i] = m.welcomes.Load()
	}
}

// run keeps the member in its room. It comes back at random times, as clients do.
func (m *member) run(ctx context.Context) {
	const soonest, spread = 100 * time.Millisecond, time.Second
	for ctx.Err() == nil {
		_ = m.attend(ctx) // it comes back, whatever it was
		select {
		case <-time.After(soonest + rand.N(spread)):
		case <-ctx.Done():
		}
	}
}

// attend opens a socket, says hello and reads until the socket is lost.
func (m *member) attend(ctx context.Context) error {
	const patience = time.Minute
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return world.clients.Dial(ctx, network, address)
		},
		Subprotocols: []string{"rtcd.v1"}, HandshakeTimeout: patience, ReadBufferSize: 1024, WriteBufferSize: 1024,
	}
	conn, _, err := dialer.DialContext(ctx, "ws://"+netip.AddrPortFrom(world.server.IP4, hubPort).String()+"/ws", nil)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }()
	m.mu.Lock()
	hello := map[string]any{"type": "hello", "room": m.room}
	if m.resume != "" {
		hello["resume"], hello["seq"] = m.resume, m.seq
	}
	m.mu.Unlock()
	if err := errors.Join(conn.WriteJSON(hello), conn.SetReadDeadline(time.Now().Add(patience))); err != nil {
		return err
	}
	var f frame
	if err := conn.ReadJSON(&f); err != nil {
		return err
	}
	if f.Type != "welcome" {
		m.refusals.Add(1)
		return fmt.Errorf("hello: %s %s", f.Code, f.Message)
	}
	m.mu.Lock()
	if !f.Resumed {
		m.seq = 0
	}
	m.conn, m.peer, m.resume = conn, f.Peer, f.Resume
	m.mu.Unlock()
	m.welcomes.Add(1)
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return m.listen(conn)
}

func (m *member) listen(conn *websocket.Conn) error {
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		var f frame
		if err := json.Unmarshal(text, &f); err != nil {
			return err
		}
		m.mu.Lock()
		m.seq = max(m.seq, f.Seq)
		m.mu.Unlock()
		switch f.Type {
		case "message":
			m.hear(f.From, f.Data)
		case "going":
			m.goings.Add(1)
		case "error":
			m.refusals.Add(1)
		}
	}
}

// say sends the next numbered message to the room, and how far the member has read.
func (m *member) say(at time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	text, err := json.Marshal(map[string]any{"type": "message", "to": "#" + m.room, "data": numbered{m.sent + 1, at}, "seq": m.seq})
	if err != nil {
		return err
	}
	if err := m.conn.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	if err := m.conn.WriteMessage(websocket.TextMessage, text); err != nil {
		return err
	}
	m.sent++
	return nil
}
