package socketio

import (
	"sync/atomic"
	"time"

	"rtcd/creds"
	"rtcd/signaling/dialect/socketio/engine"
)

// maxSockets is how many namespaces one client can be in.
const maxSockets = 8

// client is one connection: it implements engine.Handler, so one method runs at a
// time.
type client struct {
	gateway *Gateway
	conn    *engine.Conn
	claims  creds.Claims
	named   string // the room that the address or the token names, "" for none
	room    string // of lobbies

	timer   *time.Timer
	greeted atomic.Bool // has connected a namespace
	sockets map[string]*socket

	partial     *packet // waits for attachments
	attachments [][]byte
	size        int
}

// Opened implements engine.Handler.
func (c *client) Opened(conn *engine.Conn) {
	c.conn = conn
	c.timer = time.AfterFunc(c.gateway.o.ConnectTimeout, func() {
		if !c.greeted.Load() {
			conn.Close()
		}
	})
	if conn.Revision() == 3 {
		c.connect("/")
	}
}

// Closed implements engine.Handler.
func (c *client) Closed() {
	c.timer.Stop()
	for _, s := range c.sockets {
		s.close()
	}
}

// Receive implements engine.Handler.
func (c *client) Receive(data []byte, binary bool) {
	if !c.receive(data, binary) {
		c.conn.Close()
	}
}

// receive says whether the client keeps to the protocol.
func (c *client) receive(data []byte, binary bool) bool {
	if binary != (c.partial != nil) {
		return false
	}
	if binary {
		if c.size += len(data); c.size > maxMessage {
			return false
		}
		c.attachments = append(c.attachments, data)
		if len(c.attachments) < c.partial.attachments {
			return true
		}
		p, attachments := c.partial, c.attachments
		c.partial, c.attachments, c.size = nil, nil, 0
		return c.take(p, attachments)
	}
	p, err := parsePacket(data)
	if err != nil {
		return false
	}
	if p.attachments > 0 {
		c.partial, c.size = &p, len(data)
		return true
	}
	return c.take(&p, nil)
}

// maxMessage is what an event can weigh with its attachments.
const maxMessage = 1 << 20

func (c *client) take(p *packet, attachments [][]byte) bool {
	s := c.sockets[p.namespace]
	switch p.kind {
	case connect:
		if s == nil {
			c.connect(p.namespace)
		}
	case disconnect:
		if s != nil {
			delete(c.sockets, p.namespace)
			s.close()
		}
	case event, binaryEvent:
		if s == nil {
			return c.conn.Revision() == 3
		}
		e, err := parseInput(p, attachments)
		if err != nil {
			return false
		}
		s.take(e)
	case failure:
		return false
	}
	return true
}

// connect opens a namespace and answers.
func (c *client) connect(namespace string) {
	c.greeted.Store(true)
	s := newSocket(c, namespace)
	refused := "too many namespaces"
	if len(c.sockets) < maxSockets {
		refused = s.open()
	}
	if refused != "" {
		c.conn.Post(engine.Text(appendPacket(nil, packet{
			kind: failure, namespace: namespace, data: c.failureData(refused),
		})))
		return
	}
	c.sockets[namespace] = s
	if common := c.sockets["/"]; common != nil && namespace != "/" && c.conn.Revision() == 3 {
		common.retire() // it was connected unasked
	}
}

// failureData is why a namespace cannot be connected, as the revision words it.
func (c *client) failureData(text string) []byte {
	quoted := appendString(nil, text)
	if c.conn.Revision() == 3 {
		return quoted
	}
	return append(append([]byte(`{"message":`), quoted...), '}')
}
