package pulse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/gorilla/websocket"
)

// Site is a web server on this machine.
type Site struct {
	Addr netip.AddrPort
	TLS  bool
	Name string // of the host, as clients send it; "" = the address
	Dial Dial
}

// WebSocket makes a handshake for a path and subprotocol, and a ping on what comes of it.
// An answer that refuses the handshake is an answer. A connection that the server takes
// and closes is none, nor silence: it may be full.
func WebSocket(ctx context.Context, s Site, path, subprotocol string) error {
	at := here(s.Addr)
	err := s.ping(ctx, at, path, subprotocol)
	if err != nil {
		return fmt.Errorf("WebSocket at %s: %w", at, err)
	}
	return nil
}

func (s Site) ping(ctx context.Context, at netip.AddrPort, path, subprotocol string) error {
	host, scheme := s.Name, "ws"
	if host == "" {
		host = at.Addr().String()
	}
	if s.TLS {
		scheme = "wss"
	}
	dialer := websocket.Dialer{
		Subprotocols: []string{subprotocol},
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return s.Dial.to(ctx, network, at.String())
		},
		// Whether it answers is asked, not who it is: the address is our own.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: s.Name, MinVersion: tls.VersionTLS12},
	}
	conn, answer, err := dialer.DialContext(ctx, scheme+"://"+net.JoinHostPort(host, fmt.Sprint(at.Port()))+path, nil)
	if answer != nil {
		answer.Body.Close()
	}
	if errors.Is(err, websocket.ErrBadHandshake) {
		return nil // it was refused, by somebody who lives
	} else if err != nil {
		return judged(ctx, err)
	}
	defer conn.Close()
	return pong(ctx, conn)
}

// errPong ends the read loop of pong.
var errPong = errors.New("pong")

// pong waits for the answer to a ping.
func pong(ctx context.Context, conn *websocket.Conn) error {
	defer context.AfterFunc(ctx, func() { conn.NetConn().SetDeadline(time.Unix(1, 0)) })()
	conn.SetPongHandler(func(string) error { return errPong })
	if err := conn.WriteControl(websocket.PingMessage, []byte("pulse"), time.Now().Add(time.Minute)); err != nil {
		return judged(ctx, err)
	}
	for {
		_, _, err := conn.NextReader()
		var closed *websocket.CloseError
		switch {
		case errors.Is(err, errPong), errors.As(err, &closed):
			return nil
		case err != nil:
			return judged(ctx, err)
		}
	}
}
