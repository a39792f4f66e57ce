//go:build linux

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"rtcd/test/turnclient"
)

const latencyRate = 10_000 // packets/s

// latencyUp measures from the client's sending to the arrival at the peer's socket.
func latencyUp(r *rig, p *process, out *sample) error {
	list, err := r.latencyClients()
	if err != nil {
		return err
	}
	defer closeAll(list)
	peer, err := r.listenPeer()
	if err != nil {
		return err
	}
	defer peer.Close()
	var frames [][]byte
	for _, c := range list {
		d := datagram{src: c.Local(), dst: netip.AddrPortFrom(serverIP, turnPort), payload: channelData(probeChannel, 160)}
		frames = append(frames, appendFrame(nil, clientLink.farMAC, clientLink.nearMAC, d))
	}
	s, err := newSender(r.topology.client, clientLink.far, frames, 1)
	if err != nil {
		return err
	}
	defer s.Close()
	return r.latency(p, out, s, []*net.UDPConn{peer})
}

// latencyDown measures from the peer's sending to the arrival at the clients'
// sockets.
func latencyDown(r *rig, p *process, out *sample) error {
	list, err := r.latencyClients()
	if err != nil {
		return err
	}
	defer closeAll(list)
	var frames [][]byte
	var ends []*net.UDPConn
	for _, c := range list {
		// The space of the channel header keeps the stamp at one offset in both directions.
		d := datagram{src: netip.AddrPortFrom(peerIP, probePort), dst: c.Relayed, payload: make([]byte, 160)}
		frames = append(frames, appendFrame(nil, peerLink.farMAC, peerLink.nearMAC, d))
		ends = append(ends, c.Conn.(*net.UDPConn))
	}
	s, err := newSender(r.topology.peer, peerLink.far, frames, 1)
	if err != nil {
		return err
	}
	defer s.Close()
	return r.latency(p, out, s, ends)
}

// latencyClients makes 100 allocations whose packets reach real sockets.
func (r *rig) latencyClients() ([]*turnclient.Client, error) {
	list, err := r.dialMany("udp", "user", 100)
	if err != nil {
		return nil, err
	}
	err = each(list, func(_ int, c *turnclient.Client) error {
		if err := c.Allocate(); err != nil {
			return err
		}
		return c.Bind(probeChannel, netip.AddrPortFrom(peerIP, probePort))
	})
	if err != nil {
		closeAll(list)
	}
	return list, err
}

// latency sends stamped packets at an even pace. The kernel stamps them again where
// they arrive and keeps them in large sockets, which are read afterwards: reading
// meanwhile would disturb the sender.
func (r *rig) latency(p *process, out *sample, s *sender, ends []*net.UDPConn) error {
	for _, e := range ends {
		if err := onDescriptor(e, stampArrivals); err != nil {
			return err
		}
	}
	time.Sleep(100 * time.Millisecond) // the kernel starts to stamp in the background
	stamp := func(s *sender) {
		f := s.frames[s.next]
		binary.NativeEndian.PutUint64(f[len(f)-8:], uint64(time.Now().UnixNano()))
	}
	err := r.measure(p, out, func() (err error) {
		out.Sent, err = drive([]*sender{s}, pace{rate: latencyRate, batch: 1, even: true}, r.window, stamp)
		return err
	})
	if err != nil {
		return err
	}
	if err := out.keptPace(latencyRate, r.window); err != nil {
		return err
	}
	var delays []int64
	read := time.Now()
	for _, e := range ends {
		err := onDescriptor(e, func(fd int) error { return readDelays(fd, read, &delays) })
		if err != nil {
			return err
		}
	}
	out.Delivered = uint64(len(delays))
	if out.loss() > 0.02 {
		return fmt.Errorf("lost %d of %d packets", out.Sent-out.Delivered, out.Sent)
	}
	slices.Sort(delays)
	out.Value = float64(delays[len(delays)/2]) / 1e3
	out.P99 = float64(delays[len(delays)*99/100]) / 1e3
	return nil
}

// stampArrivals makes the kernel note when each datagram arrives, and makes room for
// all of a run.
func stampArrivals(fd int) error {
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 256<<20))
}

// readDelays reads all that waits in a socket: arrival less the stamp in the last
// eight bytes. Everything arrived before now, or the kernel did not stamp it until
// it was read.
func readDelays(fd int, now time.Time, delays *[]int64) error {
	buf, oob := make([]byte, 2048), make([]byte, 64)
	for {
		n, noob, _, _, err := unix.Recvmsg(fd, buf, oob, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EAGAIN) {
			return nil
		}
		if err != nil {
			return err
		}
		list, err := unix.ParseSocketControlMessage(oob[:noob])
		if err != nil || len(list) != 1 || len(list[0].Data) < 16 || n < 8 {
			return fmt.Errorf("datagram of %d bytes without a time of arrival", n)
		}
		at := (*unix.Timespec)(unsafe.Pointer(&list[0].Data[0])).Nano()
		if at > now.UnixNano() {
			return errors.New("a datagram was not stamped when it arrived")
		}
		*delays = append(*delays, at-int64(binary.NativeEndian.Uint64(buf[n-8:])))
	}
}

// onDescriptor calls f with the descriptor of a socket.
func onDescriptor(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = f(int(fd)) })
	return errors.Join(err, inner)
}
