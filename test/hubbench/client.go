//go:build linux

package main

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// client is one WebSocket, spoken by hand so that counting costs next to nothing.
type client struct {
	conn net.Conn
	r    *bufio.Reader
	peer string // its own id at the server
}

const (
	opText  = 0x81
	opClose = 0x88
	opPing  = 0x89
	opPong  = 0x8a
)

// mask is what the client's frames are masked with; servers have the same work with
// every mask but zero.
var mask = [4]byte{0x5a, 0xc3, 0x17, 0x8e}

// frame is a client's frame (RFC 6455 §5.2).
func frame(op byte, payload string) []byte {
	b := []byte{op}
	if n := len(payload); n < 126 {
		b = append(b, 0x80|byte(n))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	}
	b = append(b, mask[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return b
}

// dial connects, upgrades and enters the room.
func dial(p *process, room string) (*client, error) {
	conn, err := net.DialTimeout("tcp", p.address(), 10*time.Second)
	if err != nil {
		return nil, err
	}
	if p.tls != nil {
		conn = tls.Client(conn, p.tls)
	}
	c := &client{conn: conn, r: bufio.NewReaderSize(conn, 4096)}
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if err = c.upgrade(p); err == nil {
		c.peer, err = p.server.speaks.enter(c, room)
	}
	if c.peer == "" {
		conn.Close()
		return nil, fmt.Errorf("hello: %w", err)
	}
	return c, conn.SetDeadline(time.Time{})
}

func (c *client) upgrade(p *process) error {
	_, err := fmt.Fprintf(c.conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
		p.server.speaks.path(), p.address())
	if err != nil {
		return err
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(res.Status)
	}
	return nil
}

func (c *client) say(text string) error {
	_, err := c.conn.Write(frame(opText, text))
	return err
}

// header reads the header of a server's frame, which has no mask.
func (c *client) header() (op byte, n int, err error) {
	h, err := c.r.Peek(2)
	if err != nil {
		return 0, 0, err
	}
	op, n = h[0], int(h[1])
	size := 2
	switch n {
	case 126:
		if h, err = c.r.Peek(4); err != nil {
			return 0, 0, err
		}
		n, size = int(binary.BigEndian.Uint16(h[2:])), 4
	case 127:
		return 0, 0, errors.New("a frame of more than 64 KiB")
	}
	_, err = c.r.Discard(size)
	return op, n, err
}

// hear returns the next text that begins with prefix.
func (c *client) hear(prefix string) (string, error) {
	for {
		op, n, err := c.header()
		if err != nil {
			return "", err
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			return "", err
		}
		if op == opClose {
			return "", fmt.Errorf("closed: %q", b)
		}
		if op == opText && strings.HasPrefix(string(b), prefix) {
			return string(b), nil
		}
	}
}

// count reads until the connection ends and reports how many messages of at least size
// bytes came in one go. It answers pings.
func (c *client) count(size int, pong string, report func(n int)) error {
	n := 0
	for {
		if n > 0 && c.r.Buffered() == 0 {
			report(n)
			n = 0
		}
		op, length, err := c.header()
		switch {
		case err != nil:
			return err
		case op == opClose:
			return errors.New("closed by the server")
		case op == opPing:
			_, err = c.conn.Write(frame(opPong, ""))
		case op == opText && length == 1: // Engine.IO's ping
			err = c.say(pong)
		case op == opText && length >= size:
			n++
		}
		if err != nil {
			return err
		}
		if _, err := c.r.Discard(length); err != nil {
			return err
		}
	}
}
