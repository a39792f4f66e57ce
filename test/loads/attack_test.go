package loads

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/stun/v3"
)

// attacker is what strangers do, all from one address.
type attacker struct {
	datagrams, connections, logins atomic.Int64

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// attack floods the server with so many datagrams a second, holds so many connections open, and tries so many wrong
// passwords a second, until end.
func attack(t *testing.T, s *server, datagrams, connections, logins int) *attacker {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	a := &attacker{stop: stop}
	t.Cleanup(a.end)
	guesser := stranger(t, ctx, s.turn())
	nonce, err := challenge(guesser)
	must(t, err)
	flooder := stranger(t, ctx, s.turn())
	// All are the attacker's; end ends them.
	a.tasks.Go(func() {
		a.every(ctx, datagrams, func() {
			if _, err := flooder.Write(junk()); err == nil {
				a.datagrams.Add(1)
			}
		})
	})
	a.tasks.Go(func() {
		a.every(ctx, logins, func() {
			if _, err := guesser.Write(guess(nonce)); err == nil {
				a.logins.Add(1)
			}
		})
	})
	for range connections {
		a.tasks.Go(func() { a.hold(ctx, s.turn()) })
	}
	return a
}

func (a *attacker) end() {
	a.stop()
	a.tasks.Wait()
}

// every calls f so many times a second, as far as the machine lets it.
func (a *attacker) every(ctx context.Context, rate int, f func()) {
	const tick = 10 * time.Millisecond
	clock := time.NewTicker(tick)
	defer clock.Stop()
	for due := 0.0; ; {
		select {
		case <-clock.C:
		case <-ctx.Done():
			return
		}
		for due += float64(rate) * tick.Seconds(); due >= 1; due-- {
			f()
		}
	}
}

// hold keeps a connection open that says nothing, and opens another when it is closed.
func (a *attacker) hold(ctx context.Context, at netip.AddrPort) {
	for ctx.Err() == nil {
		conn, err := world.others.Dial(ctx, "tcp", at.String())
		if err == nil {
			a.connections.Add(1)
			end := context.AfterFunc(ctx, func() { _ = conn.Close() })
			_, _ = conn.Read(make([]byte, 1)) // until somebody closes it
			end()
			_ = conn.Close()
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// stranger is a UDP socket that reads and forgets what it is answered, once it is asked no more.
func stranger(t *testing.T, ctx context.Context, at netip.AddrPort) net.Conn {
	t.Helper()
	conn, err := world.others.Dial(ctx, "udp", at.String())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

var requestUDP = stun.RawAttribute{Type: stun.AttrRequestedTransport, Value: []byte{17, 0, 0, 0}}

// challenge is the nonce that an Allocate without credentials is answered with.
func challenge(conn net.Conn) (stun.Nonce, error) {
	req, err := stun.Build(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), requestUDP)
	if err != nil {
		return nil, err
	}
	for range 20 {
		if _, err := conn.Write(req.Raw); err != nil {
			return nil, err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		buf := make([]byte, 2048)
		n, err := conn.Read(buf)
		if err != nil {
			continue
		}
		var nonce stun.Nonce
		res := &stun.Message{Raw: buf[:n]}
		if err := res.Decode(); err != nil {
			return nil, err
		}
		return nonce, nonce.GetFrom(res)
	}
	return nil, fmt.Errorf("no answer: %w", io.ErrUnexpectedEOF)
}

// guess is an Allocate by a user that exists, with a password that is wrong.
func guess(nonce stun.Nonce) []byte {
	name := fmt.Sprintf("%d:victim", time.Now().Add(time.Hour).Unix())
	key := stun.NewLongTermIntegrity(name, "loads", fmt.Sprint(rand.Uint64()))
	return stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), requestUDP,
		stun.NewUsername(name), stun.NewRealm("loads"), nonce, key).Raw
}

// junk is a datagram of one of the kinds that floods are made of.
func junk() []byte {
	switch rand.IntN(5) {
	case 0: // noise that is no protocol of ours
		b := make([]byte, 1+rand.IntN(1200))
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		b[0] |= 0x80
		return b
	case 1: // data of somebody without allocation
		b := make([]byte, 4+160)
		binary.BigEndian.PutUint32(b, 0x4000_0000|160)
		return b
	case 2:
		return stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	case 3:
		return stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest), requestUDP).Raw
	default: // a request that is cut off
		return stun.MustBuild(stun.TransactionID, stun.BindingRequest, stun.NewSoftware("a flood of datagrams")).Raw[:28]
	}
}
