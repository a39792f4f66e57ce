package natlab

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// How a session finds out that its network has gone: no frame, not even a pong, for a while.
const (
	pingEvery  = time.Second
	deadAfter  = 3 * time.Second
	redialWait = 200 * time.Millisecond
)

var errRenewed = errors.New("the session was not resumed, another was begun")

// signal is a message of the hub that a session hands on.
type signal struct {
	From string          `json:"from"`
	Kind string          `json:"kind"`
	Data json.RawMessage `json:"data"`
}

// other is another member of the room.
type other struct {
	Peer string `json:"peer"`
	Away bool   `json:"away"`
}

type iceServer struct {
	URLs                 []string
	Username, Credential string
}

// frame is any message of the server.
type frame struct {
	signal
	Type, Code, Message, Event, Peer, Resume string
	Seq, Got                                 uint64
	Resumed                                  bool
	Rooms                                    []struct{ Peers []other }
	ICE                                      struct{ IceServers []iceServer }
}

// hub is a member's session on the hub (rtcd.v1, see PROTOCOL.md). A lost socket is replaced.
type hub struct {
	room, token string
	node        network
	onSignal    func(signal) // called in order, from one goroutine
	onPeer      func(event, peer string)
	done        chan struct{} // closed when run has ended

	mu      sync.Mutex // guards what follows
	conn    *websocket.Conn
	me      frame // the newest welcome
	sockets int   // how many were welcomed
	seen    uint64
	sent    uint64
	outbox  [][]byte // frames sent+1-len(outbox) to sent, which the server has not confirmed
	renewed bool     // a socket was welcomed, but not as the session of before
	err     error    // why the session is over
}

// run keeps the session until the context ends.
func (s *hub) run(ctx context.Context) {
	defer close(s.done)
	for ctx.Err() == nil {
		err := s.attach(ctx)
		if closed := (*websocket.CloseError)(nil); errors.As(err, &closed) && closed.Code >= 4400 {
			s.mu.Lock()
			s.err = err
			s.mu.Unlock()
			return
		}
		select {
		case <-time.After(redialWait):
		case <-ctx.Done():
		}
	}
}

// attach opens a socket, says hello and reads until the socket is lost.
func (s *hub) attach(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, family, address string) (net.Conn, error) {
			at, err := s.node.resolve(address)
			if err != nil {
				return nil, err
			}
			return s.node.node.Dial(ctx, family, at.String())
		},
		TLSClientConfig:  &tls.Config{RootCAs: world.ca.Pool()},
		Subprotocols:     []string{"rtcd.v1"},
		HandshakeTimeout: deadAfter,
	}
	conn, _, err := dialer.DialContext(ctx, "wss://"+hubHost+"/ws", nil)
	if err != nil {
		cancel()
		return err
	}
	var pinger sync.WaitGroup
	defer pinger.Wait()
	defer func() { _ = conn.Close() }()
	defer s.detach()
	defer cancel()
	if err := s.hello(conn); err != nil {
		return err
	}
	// Owned by attach; ends with its context.
	pinger.Go(func() { s.ping(ctx, conn) })
	for {
		f, err := read(conn)
		if err != nil {
			return err
		}
		s.receive(f)
	}
}

// hello gets the session going on a new socket, or takes it up again.
func (s *hub) hello(conn *websocket.Conn) error {
	s.mu.Lock()
	hello := map[string]any{"type": "hello", "token": s.token, "room": s.room}
	if s.me.Resume != "" {
		hello["resume"], hello["seq"] = s.me.Resume, s.seen
	}
	s.mu.Unlock()
	if err := conn.WriteJSON(hello); err != nil {
		return err
	}
	f, err := read(conn)
	if err != nil {
		return err
	}
	if f.Type != "welcome" {
		return fmt.Errorf("hello: %s %s", f.Code, f.Message)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.me, s.conn = f, conn
	s.sockets++
	if !f.Resumed {
		s.renewed = s.sockets > 1
		s.seen, s.sent, s.outbox = 0, 0, nil
		return nil
	}
	s.outbox = s.outbox[max(0, len(s.outbox)-int(s.sent-f.Got)):]
	for _, text := range s.outbox {
		if err := write(conn, text); err != nil {
			return err
		}
	}
	return nil
}

func (s *hub) detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = nil
}

// ping also closes the socket at the end of the context, which ends the reader.
func (s *hub) ping(ctx context.Context, conn *websocket.Conn) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.mu.Lock()
			text, _ := json.Marshal(map[string]any{"type": "ping", "seq": s.seen})
			err := write(conn, text)
			s.mu.Unlock()
			if err != nil {
				_ = conn.Close()
			}
		case <-ctx.Done():
			_ = conn.Close()
			return
		}
	}
}

func (s *hub) receive(f frame) {
	s.mu.Lock()
	fresh := f.Seq > s.seen
	if fresh {
		s.seen = f.Seq
	}
	if f.Type == "pong" {
		s.outbox = s.outbox[max(0, len(s.outbox)-int(s.sent-f.Got)):]
	}
	s.mu.Unlock()
	switch {
	case !fresh:
	case f.Type == "signal":
		s.onSignal(f.signal)
	case f.Type == "peer" && s.onPeer != nil:
		s.onPeer(f.Event, f.Peer)
	}
}

// signal sends a signal, now or on the next socket.
func (s *hub) signal(to, kind string, data any) {
	text, err := json.Marshal(map[string]any{"type": "signal", "to": to, "kind": kind, "conn": "main", "data": data})
	if err != nil {
		panic(err) // descriptions and candidates always have a JSON form
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent++
	s.outbox = append(s.outbox, text)
	if s.conn != nil {
		_ = write(s.conn, text) // if it is lost, the next socket carries it
	}
}

// welcome is the newest one, and how many there have been.
func (s *hub) welcome() (me frame, sockets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.me, s.sockets
}

// session fails if the session was not always the same.
func (s *hub) session(context.Context) (peer string, sockets int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err = s.err
	if s.renewed {
		err = errRenewed
	}
	return s.me.Peer, s.sockets, err
}

// others is who was in the room when the session began.
func (s *hub) others() []other {
	me, _ := s.welcome()
	if len(me.Rooms) == 0 {
		return nil
	}
	return slices.Clone(me.Rooms[0].Peers)
}

func read(conn *websocket.Conn) (f frame, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(deadAfter)); err != nil {
		return f, err
	}
	return f, conn.ReadJSON(&f)
}

func write(conn *websocket.Conn, text []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(deadAfter)); err != nil {
		return err
	}
	return conn.WriteMessage(websocket.TextMessage, text)
}
