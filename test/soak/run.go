//go:build linux

package soak

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rtcd/test/lab"
	"rtcd/test/turnclient"
)

// Options say what to load and how much.
type Options struct {
	Lab                  *lab.Net
	Server, Client, Peer *lab.Node
	Port                 uint16 // of the server's TURN over UDP
	Secret               string // of its TURN REST credentials
	Metrics              func(context.Context) (string, error)

	Calls   int           // through the relay alone: two allocations each, bound to one another
	Outside int           // allocations with a peer outside
	Rate    float64       // packets per second over all of them, both ways together
	Size    int           // of a payload, in bytes, at least MinSize
	For     time.Duration // of sending

	// Burst is how many packets leave joined (UDP_SEGMENT), by default each alone. Where
	// joined packets get lost the kernel counts one, so that the others are unexplained.
	Burst int

	// During, if not nil, is called when a third of the time has passed; sending goes on
	// meanwhile.
	During func() error

	// Beside, if not nil, is called with the first packet. Its context ends with the last, and
	// it is waited for before anything is counted.
	Beside func(context.Context) error
}

// load is one run.
type load struct {
	Options
	parties []*party
	peers   []*net.UDPConn // of streams[2*len(parties)…]; see setUp
	toPeer  []*stream      // what each of peers receives
	streams []*stream

	total   atomic.Uint64 // packets that arrived anywhere
	unsent  uint64        // that the kernel did not take
	stop    chan struct{} // closed: readers end
	readers sync.WaitGroup
	failed  chan error // of readers
}

// Run loads the server and returns the account. An error is that of the load itself; that
// packets are missing is the report's to tell.
func Run(ctx context.Context, o Options) (*Report, error) {
	l := &load{Options: o, stop: make(chan struct{}), failed: make(chan error, 1)}
	if err := oneByOne(o, true); err != nil {
		return nil, err
	}
	defer l.close()
	idle, err := readCounters(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := l.setUp(ctx); err != nil {
		return nil, fmt.Errorf("set up: %w", err)
	}
	before, err := readCounters(ctx, o)
	if err != nil {
		return nil, err
	}
	l.startReaders()
	r := &Report{Options: o, Started: time.Now()}
	if err := l.drive(ctx, r); err != nil {
		return nil, err
	}
	// One more packet on each way, since the kernel tells what a socket lost beside the
	// next that it takes.
	for _, s := range l.streams {
		if err := l.sendOn(s); err != nil {
			return nil, err
		}
		time.Sleep(100 * time.Microsecond)
	}
	l.settle(ctx)
	after, err := readCounters(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := l.endReaders(); err != nil {
		return nil, err
	}
	l.account(r, after.since(before))
	return r, l.release(ctx, r, idle)
}

// setUp makes allocations and binds their channels: parties 2i and 2i+1 to one another
// for each call, the others to a socket of their own.
func (l *load) setUp(ctx context.Context) error {
	server := netip.AddrPortFrom(l.Server.IP4, l.Port)
	for i := range 2*l.Calls + l.Outside {
		conn, err := l.Client.Dial(ctx, "udp", server.String())
		if err != nil {
			return err
		}
		client := turnclient.New(conn, fmt.Sprintf("soak%d", i), l.Secret)
		l.parties = append(l.parties, &party{client: client})
	}
	if err := each(l.parties, func(p *party) error { return p.client.Allocate() }); err != nil {
		return err
	}
	for i, p := range l.parties[:2*l.Calls] {
		p.peer = l.parties[i^1].client.Relayed
	}
	for _, p := range l.parties[2*l.Calls:] {
		conn, err := l.Peer.ListenPacket(ctx, netip.AddrPortFrom(l.Peer.IP4, 0).String())
		if err != nil {
			return err
		}
		l.peers = append(l.peers, conn.(*net.UDPConn))
		p.peer = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	}
	if err := each(l.parties, func(p *party) error { return p.client.Bind(channel, p.peer) }); err != nil {
		return err
	}
	for i, p := range l.parties {
		up := l.addStream(4, p.client.Conn.(*net.UDPConn), netip.AddrPort{})
		for packet := range slices.Chunk(up.frame, up.unit) {
			binary.BigEndian.PutUint16(packet, channel)
			binary.BigEndian.PutUint16(packet[2:], uint16(l.Size))
		}
		if i < 2*l.Calls {
			l.parties[i^1].in = up
			continue
		}
		l.toPeer = append(l.toPeer, up)
		p.in = l.addStream(0, l.peers[i-2*l.Calls], p.client.Relayed)
	}
	return nil
}

// addStream adds one whose packets begin with some bytes before the payload, and go to an
// address, or the one that the socket is connected to.
func (l *load) addStream(before int, conn *net.UDPConn, to netip.AddrPort) *stream {
	burst, unit := max(1, l.Burst), before+l.Size
	s := &stream{id: uint32(len(l.streams)), size: l.Size, unit: unit, frame: make([]byte, burst*unit)}
	switch {
	case burst > 1:
		s.write = func(b []byte) error { return sendJoined(conn, b, unit, to) }
	case to.IsValid():
		s.write = func(b []byte) error { _, err := conn.WriteToUDPAddrPort(b, to); return err }
	default:
		s.write = func(b []byte) error { _, err := conn.Write(b); return err }
	}
	l.streams = append(l.streams, s)
	return s
}

// each calls f for every party, 32 at a time.
func each(list []*party, f func(*party) error) error {
	var workers sync.WaitGroup
	next, errs := make(chan *party), make(chan error, len(list))
	for range 32 {
		// each owns the workers; the closing of next ends them.
		workers.Go(func() {
			for p := range next {
				errs <- f(p)
			}
		})
	}
	for _, p := range list {
		next <- p
	}
	close(next)
	workers.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *load) startReaders() {
	read := func(f func() error) {
		// The load owns the readers; stop ends them.
		l.readers.Go(func() {
			if err := f(); err != nil {
				select {
				case l.failed <- err:
				default:
				}
			}
		})
	}
	for _, p := range l.parties {
		read(func() error { return p.read(l.stop, &l.total) })
	}
	for i, conn := range l.peers {
		read(func() error { return readPeer(conn, l.toPeer[i], l.stop, &l.total) })
	}
}

func (l *load) endReaders() error {
	close(l.stop)
	l.readers.Wait()
	select {
	case err := <-l.failed:
		return fmt.Errorf("reader: %w", err)
	default:
		return nil
	}
}

// maxBehind is how much sending that was held up is made good.
const maxBehind = 100 * time.Millisecond

// drive sends on all streams in turn, at the rate, while the server's memory is sampled.
func (l *load) drive(ctx context.Context, r *Report) error {
	start, done := time.Now(), make(chan struct{})
	sending, end := context.WithCancel(ctx)
	defer end()
	var beside sync.WaitGroup
	var sampling, during, besides error
	// drive owns them; they end with the sending.
	if l.Beside != nil {
		beside.Go(func() { besides = l.Beside(sending) })
	}
	beside.Go(func() { sampling = r.samples(ctx, l.For, done) })
	beside.Go(func() {
		select {
		case <-time.After(l.For / 3):
			if l.During != nil {
				during = l.During()
			}
		case <-done:
		}
	})
	sent := l.sendAll(ctx, start)
	r.Seconds = time.Since(start).Seconds()
	close(done)
	end()
	beside.Wait()
	if err := errors.Join(sent, sampling, during, besides); err != nil {
		return err
	}
	l.settle(ctx)
	return r.sample(ctx, time.Since(start))
}

func (l *load) sendAll(ctx context.Context, start time.Time) error {
	due, turn := 0.0, 0 // when the next packet is, in seconds since the start, and on which stream
	for {
		elapsed := time.Since(start)
		if elapsed >= l.For {
			return nil
		}
		due = max(due, (elapsed - maxBehind).Seconds())
		for ; due <= elapsed.Seconds(); due += float64(max(1, l.Burst)) / l.Rate {
			if err := l.sendOn(l.streams[turn%len(l.streams)]); err != nil {
				return err
			}
			turn++
		}
		select {
		case err := <-l.failed:
			return fmt.Errorf("reader: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

// sendOn sends one packet; that the kernel has no room is not an error.
func (l *load) sendOn(s *stream) error {
	err := s.send()
	if errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.EAGAIN) {
		l.unsent++
		return nil
	}
	return err
}

// settle waits until everything sent has arrived, or nothing has for two seconds.
func (l *load) settle(ctx context.Context) {
	var sent uint64
	for _, s := range l.streams {
		sent += uint64(s.sent)
	}
	const step, steps = 20 * time.Millisecond, 100
	last, quiet := l.total.Load(), 0
	for last < sent && quiet < steps && ctx.Err() == nil {
		time.Sleep(step)
		now := l.total.Load()
		quiet++
		if now != last {
			last, quiet = now, 0
		}
	}
}

// account fills in what was sent, what arrived, and what became of the rest.
func (l *load) account(r *Report, grown counters) {
	r.NotSent = l.unsent
	var sum arrivalCounts
	for _, s := range l.streams {
		r.Sent += uint64(s.sent)
		sum.add(s.in.arrivalCounts)
	}
	r.Received, r.Duplicates, r.Reordered, r.Corrupt = sum.received, sum.duplicates, sum.reordered, sum.corrupt
	r.Losses, r.OverflowTold = losses(grown, l.Options)
	r.Overflow = int64(grown[l.Server.Namespace()+rcvbufErrors])
	r.grown = grown
	r.Unexplained = int64(r.Sent) - int64(r.Received)
	for _, loss := range r.Losses {
		r.Unexplained -= loss.Count
	}
}

// patience is how long the server may take to close what was released.
const patience = 20 * time.Second

// release ends all allocations and notes what the server has left of them in the end.
func (l *load) release(ctx context.Context, r *Report, idle counters) error {
	if err := each(l.parties, func(p *party) error { return p.client.Refresh(0) }); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	r.Idle = newSample(0, idle)
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		text, err := l.Metrics(ctx)
		if err != nil {
			return err
		}
		now := counters{}
		parseMetrics(text, now)
		r.Left = now.sum(allocations) - idle.sum(allocations)
		r.Released = newSample(0, now)
		released := r.Left <= 0 && r.Released.Descriptors <= r.Idle.Descriptors+mayGrowDescriptors
		if released || time.Now().After(deadline) {
			return nil
		}
	}
}

func (l *load) close() {
	for _, p := range l.parties {
		_ = p.client.Conn.Close() // it is a socket of UDP: nothing is lost
	}
	for _, conn := range l.peers {
		_ = conn.Close()
	}
	if err := oneByOne(l.Options, false); err != nil {
		panic(err) // the nodes were there when the run began
	}
}
