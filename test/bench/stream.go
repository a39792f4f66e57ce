//go:build linux

package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"rtcd/test/turnclient"
)

// stream is a load of clients that came over TCP or TLS.
type stream struct {
	transport string
	size      int // bytes of payload; a multiple of four, so that frames need no padding
	flows     int
}

// upload writes as fast as the connections take it; each write holds as many frames
// as a TLS record.
func (t stream) upload(r *rig, p *process, out *sample) error {
	chunk := bytes.Repeat(channelData(dataChannel, t.size), (16<<10)/(4+t.size))
	return t.write(r, p, out, func(list []*turnclient.Client) (int64, error) {
		deadline := time.Now().Add(r.window)
		var written atomic.Int64
		err := each(list, func(_ int, c *turnclient.Client) error {
			c.Conn.SetWriteDeadline(deadline)
			for {
				n, err := c.Conn.Write(chunk)
				written.Add(int64(n))
				if errors.Is(err, os.ErrDeadlineExceeded) {
					return nil
				}
				if err != nil {
					return err
				}
			}
		})
		return written.Load(), err
	})
}

// paced writes four frames at a time to one connection after the other, 50,000 frames
// per second in all, like many calls do.
func (t stream) paced(r *rig, p *process, out *sample) error {
	const frames, rate = 4, 50_000
	chunk := bytes.Repeat(channelData(dataChannel, t.size), frames)
	err := t.write(r, p, out, func(list []*turnclient.Client) (written int64, err error) {
		start := time.Now()
		for i := 0; ; i++ {
			due := time.Duration(i) * time.Second * frames / rate
			if due >= r.window {
				return written, nil
			}
			for time.Since(start) < due {
				runtime.Gosched()
			}
			c := list[i%len(list)]
			c.Conn.SetWriteDeadline(start.Add(r.window + time.Second))
			n, err := c.Conn.Write(chunk)
			written += int64(n)
			if err != nil {
				return written, err
			}
		}
	})
	if err != nil {
		return err
	}
	return out.keptPace(rate, r.window)
}

// write sets the clients up, lets f write to their connections, and counts what
// arrives of it.
func (t stream) write(r *rig, p *process, out *sample, f func([]*turnclient.Client) (int64, error)) error {
	list, err := r.setUp(t.transport, t.flows, false)
	if err != nil {
		return err
	}
	defer closeAll(list)
	before, err := readSink(r.topology.peer)
	if err != nil {
		return err
	}
	var written int64
	err = r.measure(p, out, func() (err error) {
		written, err = f(list)
		return err
	})
	if err != nil {
		return err
	}
	after, err := readSink(r.topology.peer)
	out.Sent = uint64(written) / uint64(4+t.size)
	out.Delivered = after.datagrams(before, t.size)
	out.Value = float64(out.Delivered) / out.CPU
	return err
}

// download floods the relayed addresses and counts what the clients read.
func (t stream) download(r *rig, p *process, out *sample) error {
	list, err := r.setUp(t.transport, t.flows, false)
	if err != nil {
		return err
	}
	var read atomic.Int64
	var readers sync.WaitGroup
	defer readers.Wait()
	defer closeAll(list)
	for _, c := range list {
		c.Conn.SetReadDeadline(time.Time{})
		// download owns the readers; the closing of the connection ends them.
		readers.Go(func() { consume(c.Conn, &read) })
	}
	s, err := traffic{transport: t.transport, size: t.size, burst: 1}.sender(r, list)
	if err != nil {
		return err
	}
	defer s.Close()
	offer := func(pc pace, d time.Duration) error {
		before := read.Load()
		err := r.measure(p, out, func() (err error) {
			out.Sent, err = drive([]*sender{s}, pc, d, nil)
			return err
		})
		out.Delivered = uint64(read.Load()-before) / uint64(4+t.size)
		return err
	}
	if err := offer(pace{batch: 64}, r.window/4); err != nil {
		return err
	}
	if out.Delivered == 0 {
		return errors.New("nothing was delivered")
	}
	if err := offer(pace{batch: 64, rate: 1.25 * float64(out.Delivered) / out.CPU}, r.window); err != nil {
		return err
	}
	out.Value = float64(out.Delivered) / out.CPU
	return nil
}

// consume counts the bytes that come, until the connection is closed. Those of TCP
// are thrown away in the kernel (MSG_TRUNC of tcp(7)), to spare the generator.
func consume(conn net.Conn, read *atomic.Int64) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			read.Add(int64(n))
			if err != nil {
				return
			}
		}
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 1<<20)
	raw.Read(func(fd uintptr) bool {
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC|unix.MSG_DONTWAIT)
			if n > 0 {
				read.Add(int64(n))
				continue
			}
			return !errors.Is(err, unix.EAGAIN)
		}
	})
}
