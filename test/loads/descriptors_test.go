package loads

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"rtcd/test/soak"
	"rtcd/test/turnclient"
)

// channel is the one that this package's clients bind.
const channel = 0x4000

// wantEcho wants a ChannelData message to come back from an echoing peer. Over UDP it may get lost, and is sent again.
func wantEcho(c *turnclient.Client, text string) error {
	frame := binary.BigEndian.AppendUint16(nil, channel)
	frame = append(binary.BigEndian.AppendUint16(frame, uint16(len(text))), text...)
	for len(frame)%4 != 0 {
		frame = append(frame, 0)
	}
	if _, err := c.Conn.Write(frame); err != nil {
		return err
	}
	if err := c.Conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	message, err := c.Read()
	if err == nil && string(message[4:]) != text {
		err = errors.New("the echo is " + string(message))
	}
	return err
}

func TestF8OutOfDescriptors(t *testing.T) {
	const limit, connections = 256, 1000
	row := newRow(t, "F8", "256 descriptors, and 1,000 connections to the relay and the hub")
	s := serveBy(t, []string{"prlimit", "--nofile=256:256"})
	before := s.mustDial(t, "tcp", "before")
	must(t, before.Allocate())
	must(t, before.Bind(channel, echo(t, world.peers)))
	must(t, wantEcho(before, "before"))

	o := soak.Options{Calls: 10, Outside: 10, Rate: either(1000., 5000), For: either(9*time.Second, 30*time.Second)}
	o.During = func() error { return s.exhaust(row, limit, connections, before) }
	row.wantAccount(load(t, s, o))
}

// exhaust takes all descriptors of the server, wants its old connection to work on, gives them back, and wants new ones
// to be served.
func (s *server) exhaust(row *row, limit, connections int, old *turnclient.Client) error {
	began := time.Now()
	taken, err := s.connect(connections)
	defer closeAll(taken)
	if err != nil {
		return err
	}
	const nearly = 3 // the reserve, and what is being turned away
	for start := time.Now(); s.descriptors() < limit-nearly; time.Sleep(20 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			return fmt.Errorf("%d descriptors are open of %d", s.descriptors(), limit)
		}
	}
	row.figure("%d descriptors open with %d connections", s.descriptors(), connections)
	if err := errors.Join(old.Refresh(10*time.Minute), wantEcho(old, "meanwhile")); err != nil {
		return err
	}
	closeAll(taken)
	relief := time.Now()
	if err := s.allocateOverTCP(); err != nil {
		return err
	}
	row.figure("the TCP allocation of before went on; a new one was made %s after relief", millis(time.Since(relief)))
	// One line in ten seconds for each listener, and some of other kinds.
	lines, most := strings.Count(s.process.Output(), "\n"), 5+int(time.Since(began)/(2*time.Second))
	row.figure("%d lines in the log", lines)
	if lines > most {
		row.t.Errorf("%d lines in the log, want at most %d", lines, most)
	}
	return nil
}

// connect opens connections that say nothing, half of them to the relay and half to the hub.
func (s *server) connect(count int) ([]net.Conn, error) {
	list := make([]net.Conn, count)
	return list, each(list, func(i int, _ net.Conn) (err error) {
		port := uint16(turnPort)
		if i%2 == 1 {
			port = hubPort
		}
		list[i], err = world.others.Dial(context.Background(), "tcp", netip.AddrPortFrom(world.server.IP4, port).String())
		return err
	})
}

func closeAll(list []net.Conn) {
	for _, c := range list {
		if c != nil {
			_ = c.Close()
		}
	}
}

// allocateOverTCP makes an allocation, as soon as the server takes connections.
func (s *server) allocateOverTCP() error {
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		c, err := s.dial(world.clients, "tcp", "after")
		if err == nil {
			err = c.Allocate()
			_ = c.Conn.Close()
		}
		if err == nil || time.Since(start) > time.Minute {
			return err
		}
	}
}
