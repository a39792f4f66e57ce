//go:build linux

package main

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/pion/stun/v3"
)

// secret is what all servers share with us (TURN REST API).
const secret = "0123456789abcdef0123456789abcdef"

// restCredentials are the name and password of a user for the next hour.
func restCredentials(user string) (name, password string) {
	name = strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10) + ":" + user
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(name))
	return name, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// client is one TURN client with at most one allocation.
type client struct {
	conn   net.Conn
	stream bool
	user   string
	auth   []stun.Setter // user name, realm, nonce, key: after the first 401

	relayed netip.AddrPort
	buf     []byte
}

func newClient(conn net.Conn, user string) *client {
	_, datagrams := conn.(*net.UDPConn)
	return &client{conn: conn, stream: !datagrams, user: user, buf: make([]byte, 2048)}
}

// local is the address of the client as the server sees it.
func (c *client) local() netip.AddrPort {
	a, err := netip.ParseAddrPort(c.conn.LocalAddr().String())
	if err != nil {
		panic(err)
	}
	return a
}

// allocate makes the allocation: once without credentials for realm and nonce, once
// with them.
func (c *client) allocate() error {
	udp := stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}
	m, err := c.request(stun.MethodAllocate, udp)
	if err != nil {
		return err
	}
	var addr stun.XORMappedAddress
	if err := addr.GetFromAs(m, stun.AttrXORRelayedAddress); err != nil {
		return fmt.Errorf("relayed address: %w", err)
	}
	ip, _ := netip.AddrFromSlice(addr.IP)
	c.relayed = netip.AddrPortFrom(ip.Unmap(), uint16(addr.Port))
	return nil
}

// bind binds a channel to a peer.
func (c *client) bind(channel uint16, peer netip.AddrPort) error {
	number := stun.RawAttribute{Type: stun.AttrChannelNumber, Value: binary.BigEndian.AppendUint32(nil, uint32(channel)<<16)}
	_, err := c.request(stun.MethodChannelBind, number, peerAddress(peer))
	return err
}

// peerAddress is XOR-PEER-ADDRESS.
type peerAddress netip.AddrPort

func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// ping asks for nothing but an answer.
func (c *client) ping() error {
	_, err := c.request(stun.MethodBinding)
	return err
}

// request sends a request and returns the success answer, authenticating when asked.
func (c *client) request(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
	for try := 0; ; try++ {
		setters := []stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}
		setters = append(append(setters, attributes...), c.auth...)
		req, err := stun.Build(setters...)
		if err != nil {
			return nil, err
		}
		res, err := c.exchange(req)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", method, err)
		}
		if res.Type.Class == stun.ClassSuccessResponse {
			return res, nil
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(res); err != nil {
			return nil, fmt.Errorf("%v: %w", method, err)
		}
		if try > 1 || code.Code != stun.CodeUnauthorized && code.Code != stun.CodeStaleNonce {
			return nil, fmt.Errorf("%v: %v", method, code)
		}
		if err := c.learn(res); err != nil {
			return nil, fmt.Errorf("%v: %w", method, err)
		}
	}
}

// learn takes realm and nonce from an error answer.
func (c *client) learn(m *stun.Message) error {
	var realm stun.Realm
	var nonce stun.Nonce
	if err := errors.Join(realm.GetFrom(m), nonce.GetFrom(m)); err != nil {
		return err
	}
	name, password := restCredentials(c.user)
	key := stun.NewLongTermIntegrity(name, realm.String(), password)
	c.auth = []stun.Setter{stun.NewUsername(name), realm, nonce, key}
	return nil
}

// exchange sends req, again and again over UDP, until its answer comes.
func (c *client) exchange(req *stun.Message) (*stun.Message, error) {
	wait := 250 * time.Millisecond
	if c.stream {
		wait = 5 * time.Second
	}
	for range 7 {
		if _, err := c.conn.Write(req.Raw); err != nil && c.stream {
			return nil, err
		}
		c.conn.SetReadDeadline(time.Now().Add(wait))
		for {
			b, err := c.read()
			if err != nil {
				if c.stream {
					return nil, err
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					return nil, err // refused: nobody listens
				}
				break
			}
			res := &stun.Message{Raw: bytes.Clone(b)}
			if stun.IsMessage(b) && res.Decode() == nil && res.TransactionID == req.TransactionID {
				return res, nil
			}
		}
		wait *= 2
	}
	return nil, errors.New("no answer")
}

// read returns the next message, which is valid until the next call.
func (c *client) read() ([]byte, error) {
	if !c.stream {
		n, err := c.conn.Read(c.buf)
		return c.buf[:n], err
	}
	if _, err := io.ReadFull(c.conn, c.buf[:4]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(c.buf[2:]))
	if c.buf[0] < 0x40 {
		size += 16
	}
	n := 4 + (size+3)&^3
	if n > len(c.buf) {
		return nil, fmt.Errorf("frame of %d bytes", n)
	}
	_, err := io.ReadFull(c.conn, c.buf[4:n])
	return c.buf[:4+size], err
}
