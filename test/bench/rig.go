//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"rtcd/test/turnclient"
)

// niceness of the server and of the generator, so that others disturb little.
const niceness = -20

// rig is what every sample uses.
type rig struct {
	topology   *topology
	shop       *workshop
	serverCore int
	softirq    int           // pid of the server core's ksoftirqd
	window     time.Duration // of one measurement
	bulk       int           // allocations of the control load
}

// sample is what was measured of one server under one load in one round.
type sample struct {
	Load   string  `json:"load"`
	Server string  `json:"server"`
	Round  int     `json:"round"`
	Value  float64 `json:"value"` // in the load's unit
	P99    float64 `json:"p99,omitempty"`

	Sent      uint64  `json:"sent,omitempty"`      // datagrams that the generator sent
	Delivered uint64  `json:"delivered,omitempty"` // datagrams that arrived at the other end
	Seconds   float64 `json:"seconds"`             // wall time of the load
	CPU       float64 `json:"cpu"`                 // CPU seconds of the server
	Idle      float64 `json:"idle"`                // share of its core that the generator left unused
	Err       string  `json:"error,omitempty"`
}

// loss is the share of datagrams that did not arrive.
func (s sample) loss() float64 {
	if s.Sent == 0 || s.Delivered >= s.Sent {
		return 0
	}
	return 1 - float64(s.Delivered)/float64(s.Sent)
}

// offered is what the generator sent per second.
func (s sample) offered() float64 { return float64(s.Sent) / s.Seconds }

// share is how much of its core the server used.
func (s sample) share() float64 { return min(1, s.CPU/s.Seconds) }

// errHeldUp is the error of loads with a fixed pace that the generator could not keep.
var errHeldUp = errors.New("the generator was held up")

// keptPace reports an error unless nearly all that was due was sent.
func (s sample) keptPace(rate float64, window time.Duration) error {
	if due := rate * window.Seconds(); float64(s.Sent) < 0.98*due || s.Seconds > 1.05*window.Seconds() {
		return fmt.Errorf("%w: sent %d of %.0f in %.2f s", errHeldUp, s.Sent, due, s.Seconds)
	}
	return nil
}

// measure runs f and fills in time, server CPU and idle share.
func (r *rig) measure(p *process, out *sample, f func() error) error {
	cpu, err := p.time()
	if err != nil {
		return err
	}
	own, start := ownTime(), time.Now()
	if err := f(); err != nil {
		return err
	}
	out.Seconds = time.Since(start).Seconds()
	out.Idle = max(0, 1-(ownTime()-own).Seconds()/out.Seconds)
	time.Sleep(30 * time.Millisecond) // the server works off what is in its sockets
	after, err := p.time()
	out.CPU = (after - cpu).Seconds()
	return err
}

// connect opens a connection, or a connected UDP socket, from the client's place.
func (r *rig) connect(network string, to netip.AddrPort) (conn net.Conn, err error) {
	err = within(r.topology.client, func() error {
		d := net.Dialer{Timeout: 5 * time.Second}
		conn, err = d.DialContext(context.Background(), network, to.String())
		return err
	})
	return conn, err
}

// dial makes a TURN client over udp, tcp or tls.
func (r *rig) dial(transport, user string) (*turnclient.Client, error) {
	list, err := r.dialMany(transport, user, 1)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// dialMany makes n clients, each with a user and a 5-tuple of its own.
func (r *rig) dialMany(transport, user string, n int) ([]*turnclient.Client, error) {
	list := make([]*turnclient.Client, 0, n)
	err := within(r.topology.client, func() error {
		for i := range n {
			conn, err := dialTransport(transport)
			if err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			list = append(list, turnclient.New(conn, user+strconv.Itoa(i), secret))
		}
		return nil
	})
	if err != nil {
		closeAll(list)
	}
	return list, err
}

func dialTransport(transport string) (net.Conn, error) {
	plain := netip.AddrPortFrom(serverIP, turnPort).String()
	switch transport {
	case "tls":
		d := net.Dialer{Timeout: 5 * time.Second}
		config := &tls.Config{InsecureSkipVerify: true} // of a certificate made a moment ago
		return tls.DialWithDialer(&d, "tcp", netip.AddrPortFrom(serverIP, turnsPort).String(), config)
	default:
		return net.DialTimeout(transport, plain, 5*time.Second)
	}
}

func closeAll(list []*turnclient.Client) {
	for _, c := range list {
		c.Conn.Close()
	}
}

// each calls f for every client, 64 at a time, and returns the first error.
func each(list []*turnclient.Client, f func(i int, c *turnclient.Client) error) error {
	var wg sync.WaitGroup
	errs := make([]error, len(list))
	next := make(chan int)
	for range min(64, len(list)) {
		// each owns the workers; the closing of next ends them.
		wg.Go(func() {
			for i := range next {
				errs[i] = f(i, list[i])
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("client %d: %w", i, err)
		}
	}
	return nil
}

// peerAt is the address of flow i's peer.
func peerAt(i int) netip.AddrPort { return netip.AddrPortFrom(peerIP, uint16(peerPort+i)) }

// setUp makes clients with an allocation each and binds their channels: to a peer
// each, or to one another in pairs.
func (r *rig) setUp(transport string, n int, pairs bool) ([]*turnclient.Client, error) {
	list, err := r.dialMany(transport, "user", n)
	if err != nil {
		return nil, err
	}
	err = each(list, func(_ int, c *turnclient.Client) error { return c.Allocate() })
	if err == nil {
		err = each(list, func(i int, c *turnclient.Client) error {
			if pairs {
				return c.Bind(dataChannel, list[i^1].Relayed)
			}
			return c.Bind(dataChannel, peerAt(i))
		})
	}
	if err != nil {
		closeAll(list)
		return nil, err
	}
	return list, nil
}

// prove sends one packet through the relay and back, over real sockets, and wants
// both unchanged. Its client stays open, so that nobody gets its 5-tuple, for which
// the server has an allocation.
func (r *rig) prove(transport string) (*turnclient.Client, error) {
	peer, err := r.listenPeer()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	c, err := r.dial(transport, "prove")
	if err != nil {
		return nil, err
	}
	if err := c.Allocate(); err != nil {
		return c, err
	}
	if err := c.Bind(probeChannel, netip.AddrPortFrom(peerIP, probePort)); err != nil {
		return c, err
	}
	return c, thereAndBack(c, peer)
}

func thereAndBack(c *turnclient.Client, peer *net.UDPConn) error {
	frame := channelData(probeChannel, 1200)
	copy(frame[4:], "there and back again")
	if _, err := c.Conn.Write(frame); err != nil {
		return err
	}
	deadline := time.Now().Add(3 * time.Second)
	buf := make([]byte, 2048)
	peer.SetReadDeadline(deadline)
	n, from, err := peer.ReadFromUDPAddrPort(buf)
	if err != nil {
		return fmt.Errorf("client to peer: %w", err)
	}
	if !bytes.Equal(buf[:n], frame[4:]) || from != c.Relayed {
		return fmt.Errorf("client to peer: %d bytes from %v arrived otherwise than sent", n, from)
	}
	if _, err := peer.WriteToUDPAddrPort(buf[:n], from); err != nil {
		return err
	}
	c.Conn.SetReadDeadline(deadline)
	back, err := c.Read()
	if err != nil {
		return fmt.Errorf("peer to client: %w", err)
	}
	if !bytes.Equal(back, frame) {
		return errors.New("peer to client: arrived otherwise than sent")
	}
	return nil
}

// listenPeer opens the one real socket of the peer.
func (r *rig) listenPeer() (conn *net.UDPConn, err error) {
	err = within(r.topology.peer, func() error {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(peerIP, probePort)))
		return err
	})
	return conn, err
}
