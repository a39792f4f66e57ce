package engine

import (
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/signaling/dialect/bounds"
)

var writeBuffers sync.Pool

// upgrade makes a WebSocket of a request; on an error it has answered.
func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, error) {
	up := websocket.Upgrader{
		HandshakeTimeout: 5 * time.Second,
		ReadBufferSize:   512,
		WriteBufferSize:  1024,
		WriteBufferPool:  &writeBuffers,
		CheckOrigin:      func(*http.Request) bool { return true }, // ServeHTTP has looked
	}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(int64(s.o.MaxPayload) + 1) // revision 3 has a byte in front
	return ws, nil
}

// run carries a new connection by ws.
func (c *Conn) run(ws *websocket.Conn) {
	if !c.attach(ws) {
		ws.Close()
		return
	}
	c.server.wg.Add(1)
	// Owned by the server's WaitGroup; ends when the socket does.
	go func() {
		defer c.server.wg.Done()
		defer c.server.o.Guard(c.abort)
		c.readAll(ws)
	}()
}

// attach makes ws the carrier and lets the queue go: also the last one of a connection
// that was closed while its client was on the way here.
func (c *Conn) attach(ws *websocket.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.OverLocked() && !c.rest || c.ws != nil {
		return false
	}
	if c.poll != nil { // its queue is empty, or it would not wait
		close(c.poll)
		c.poll = nil
	}
	c.ws, c.probe = ws, nil
	if c.out.LenLocked() > 0 {
		c.wakeLocked()
	}
	return true
}

// readAll takes frames until there is an error. Nobody reads after one.
func (c *Conn) readAll(ws *websocket.Conn) {
	defer ws.Close()
	defer c.abort()
	ws.SetPingHandler(func(data string) error {
		if !c.pace.Hold(0, c.out.Done()) {
			return bounds.ErrOver
		}
		ws.WriteControl(websocket.PongMessage, []byte(data), time.Now().Add(time.Second))
		return nil
	})
	ws.SetPongHandler(func(string) error {
		if !c.pace.Hold(0, c.out.Done()) {
			return bounds.ErrOver
		}
		return nil
	})
	for {
		p, err := c.readOne(ws)
		if err != nil {
			return
		}
		if !c.receive(p) {
			break
		}
	}
	// The last words may still be on their way out: wait for the client's close frame.
	ws.SetReadDeadline(time.Now().Add(closeGrace))
	for {
		if _, _, err := ws.NextReader(); err != nil {
			return
		}
	}
}

func (c *Conn) readOne(ws *websocket.Conn) (Packet, error) {
	kind, data, err := ws.ReadMessage()
	switch {
	case err != nil:
		return Packet{}, err
	case kind == websocket.BinaryMessage:
		return parseBinary(c.rev, data)
	}
	return parseText(c.rev, data)
}

// upgrade lets a WebSocket take a polling connection over.
func (c *Conn) upgrade(w http.ResponseWriter, r *http.Request) {
	if !c.polling() {
		badRequest.write(w)
		return
	}
	ws, err := c.server.upgrade(w, r)
	if err != nil {
		return
	}
	c.mu.Lock()
	ok := !c.out.OverLocked() && c.ws == nil && c.probe == nil
	if ok {
		c.probe = ws
		c.server.wg.Add(1)
	}
	c.mu.Unlock()
	if !ok {
		ws.Close()
		return
	}
	// Owned by the server's WaitGroup; ends when the socket does.
	go func() {
		defer c.server.wg.Done()
		defer c.server.o.Guard(func() { c.abort(); ws.Close() })
		if c.probing(ws) {
			c.readAll(ws)
		}
	}()
}

// probing says 3probe to 2probe and waits for 5.
func (c *Conn) probing(ws *websocket.Conn) bool {
	ws.SetReadDeadline(time.Now().Add(c.server.o.UpgradeTimeout))
	p, err := c.readOne(ws)
	if err != nil || p.kind != kindPing || string(p.Data) != "probe" {
		return c.giveUp(ws)
	}
	ws.SetWriteDeadline(time.Now().Add(c.server.o.WriteTimeout))
	if ws.WriteMessage(websocket.TextMessage, []byte("3probe")) != nil {
		return c.giveUp(ws)
	}
	c.mu.Lock()
	if c.poll != nil {
		close(c.poll)
		c.poll = nil
	}
	c.mu.Unlock()
	if p, err = c.readOne(ws); err != nil || p.kind != kindUpgrade {
		return c.giveUp(ws)
	}
	ws.SetReadDeadline(time.Time{})
	if !c.attach(ws) {
		return c.giveUp(ws)
	}
	return true
}

// giveUp leaves the connection to its polls.
func (c *Conn) giveUp(ws *websocket.Conn) bool {
	c.mu.Lock()
	if c.probe == ws {
		c.probe = nil
	}
	c.mu.Unlock()
	ws.Close()
	return false
}

// write sends what is queued, as long as something is.
func (c *Conn) write(ws *websocket.Conn) {
	defer c.server.wg.Done()
	defer c.server.o.Guard(func() { c.abort(); ws.Close() })
	for {
		c.mu.Lock()
		packets := c.out.TakeLocked()
		if len(packets) == 0 {
			c.writing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, p := range packets {
			if err := c.writeOne(ws, p); err != nil {
				ws.Close() // its reader notices; c.writing stays, so nobody writes again
				return
			}
		}
	}
}

func (c *Conn) writeOne(ws *websocket.Conn, p Packet) error {
	deadline := time.Now().Add(c.server.o.WriteTimeout)
	ws.SetWriteDeadline(deadline)
	switch {
	case p.kind == kindClose:
		err := ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), deadline)
		ws.SetReadDeadline(time.Now().Add(closeGrace))
		return err
	case p.Binary && c.rev == 3 && c.b64:
		return ws.WriteMessage(websocket.TextMessage, appendText(nil, 3, p))
	case p.Binary:
		return ws.WriteMessage(websocket.BinaryMessage, appendBinary(nil, c.rev, p))
	}
	return ws.WriteMessage(websocket.TextMessage, appendText(nil, c.rev, p))
}
