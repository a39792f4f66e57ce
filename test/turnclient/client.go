// Package turnclient is a TURN client for loads: one [Client] has one socket and at most
// one allocation, does what it is told, and starts no goroutine.
//
// It speaks RFC 8656 with TURN REST credentials. What it does not do: keep its allocation
// alive by itself (see [Client.Refresh]), or relay data; that is up to the caller, who
// writes ChannelData to its connection.
package turnclient

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"github.com/pion/stun/v3"
)

// Credentials are the name and password of a user, minted with the server's secret (TURN
// REST API), for the next six hours.
func Credentials(secret, user string) (name, password string) {
	name = strconv.FormatInt(time.Now().Add(6*time.Hour).Unix(), 10) + ":" + user
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(name))
	return name, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Client is one TURN client with at most one allocation. It is used by one goroutine at
// a time.
type Client struct {
	Conn    net.Conn
	Relayed netip.AddrPort // after Allocate

	// Other is told every message that comes while an answer is awaited and is not that
	// answer; it is valid until Other returns. May be nil.
	Other func(message []byte)

	stream         bool
	user, secret   string
	name, password string        // after the first 401, as what follows
	auth           []stun.Setter // user name, realm, nonce, key
	buf            []byte
	have           int // bytes of a frame in buf, of a stream
}

// New returns a client on a connection, or a connected UDP socket, to the server whose
// secret this is.
func New(conn net.Conn, user, secret string) *Client {
	_, datagrams := conn.(*net.UDPConn)
	return &Client{Conn: conn, stream: !datagrams, user: user, secret: secret, buf: make([]byte, 2048)}
}

// Local is the address of the client as the server sees it.
func (c *Client) Local() netip.AddrPort {
	a, err := netip.ParseAddrPort(c.Conn.LocalAddr().String())
	if err != nil {
		panic(err)
	}
	return a
}

// Allocate makes the allocation: once without credentials for realm and nonce, once
// with them.
func (c *Client) Allocate() error {
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
	c.Relayed = netip.AddrPortFrom(ip.Unmap(), uint16(addr.Port))
	return nil
}

// Bind binds a channel to a peer.
func (c *Client) Bind(channel uint16, peer netip.AddrPort) error {
	number := stun.RawAttribute{Type: stun.AttrChannelNumber, Value: binary.BigEndian.AppendUint32(nil, uint32(channel)<<16)}
	_, err := c.request(stun.MethodChannelBind, number, peerAddress(peer))
	return err
}

// Refresh makes the allocation last for another time, in whole seconds; 0 ends it.
func (c *Client) Refresh(lifetime time.Duration) error {
	seconds := binary.BigEndian.AppendUint32(nil, uint32(lifetime/time.Second))
	_, err := c.request(stun.MethodRefresh, stun.RawAttribute{Type: stun.AttrLifetime, Value: seconds})
	return err
}

// Send sends data in a Send indication, which may have more attributes.
func (c *Client) Send(peer netip.AddrPort, data []byte, more ...stun.Setter) error {
	setters := []stun.Setter{stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAddress(peer)}
	setters = append(append(setters, more...), stun.RawAttribute{Type: stun.AttrData, Value: data})
	m, err := stun.Build(setters...)
	if err != nil {
		return err
	}
	_, err = c.Conn.Write(m.Raw)
	return err
}

// peerAddress is XOR-PEER-ADDRESS.
type peerAddress netip.AddrPort

func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

// Ping sends a Binding request: it asks for nothing but an answer.
func (c *Client) Ping() error {
	_, err := c.request(stun.MethodBinding)
	return err
}

// Refused is that the server answered a request by an error code.
type Refused struct {
	Method stun.Method
	Code   int
	Reason string
}

func (e *Refused) Error() string { return fmt.Sprintf("%v: %d %s", e.Method, e.Code, e.Reason) }

// request sends a request and returns the success answer, authenticating when asked.
func (c *Client) request(method stun.Method, attributes ...stun.Setter) (*stun.Message, error) {
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
			return nil, &Refused{method, int(code.Code), string(code.Reason)}
		}
		if err := c.learn(res); err != nil {
			return nil, fmt.Errorf("%v: %w", method, err)
		}
	}
}

// learn takes realm and nonce from an error answer.
func (c *Client) learn(m *stun.Message) error {
	var realm stun.Realm
	var nonce stun.Nonce
	if err := errors.Join(realm.GetFrom(m), nonce.GetFrom(m)); err != nil {
		return err
	}
	if c.name == "" { // an allocation wants the name that made it for as long as it lives
		c.name, c.password = Credentials(c.secret, c.user)
	}
	key := stun.NewLongTermIntegrity(c.name, realm.String(), c.password)
	c.auth = []stun.Setter{stun.NewUsername(c.name), realm, nonce, key}
	return nil
}

// exchange sends req, again and again over UDP, until its answer comes.
func (c *Client) exchange(req *stun.Message) (*stun.Message, error) {
	wait := 250 * time.Millisecond
	if c.stream {
		wait = 30 * time.Second
	}
	for range 7 {
		if _, err := c.Conn.Write(req.Raw); err != nil && c.stream {
			return nil, err
		}
		c.Conn.SetReadDeadline(time.Now().Add(wait))
		for {
			b, err := c.Read()
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
			if c.Other != nil {
				c.Other(b)
			}
		}
		wait *= 2
	}
	return nil, errors.New("no answer")
}

// Read returns the next message, which is valid until the next call.
func (c *Client) Read() ([]byte, error) {
	if !c.stream {
		n, err := c.Conn.Read(c.buf)
		return c.buf[:n], err
	}
	if err := c.fill(4); err != nil {
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
	if err := c.fill(n); err != nil {
		return nil, err
	}
	c.have = 0
	return c.buf[:4+size], nil
}

// fill reads on until n bytes of a frame are there. What is there stays after an error, such
// as a deadline in the middle of a frame.
func (c *Client) fill(n int) error {
	for c.have < n {
		m, err := c.Conn.Read(c.buf[c.have:n])
		if c.have += m; err != nil && c.have < n {
			return err
		}
	}
	return nil
}
