//go:build linux

package main

import (
	"fmt"
	"net"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sender sends a fixed round of frames, over and over, out of one device.
type sender struct {
	fd     int
	msgs   []mmsghdr
	next   int // of msgs
	weight int // datagrams per frame

	iovs   []unix.Iovec
	frames [][]byte
}

// mmsghdr is struct mmsghdr of sendmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// newSender opens the AF_PACKET socket in namespace ns. Each frame holds weight
// datagrams.
func newSender(ns, dev string, frames [][]byte, weight int) (*sender, error) {
	s := &sender{frames: frames, weight: weight}
	err := within(ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		s.fd = fd
		ifi, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
			return fmt.Errorf("bind to %s: %w", dev, err)
		}
		for _, option := range []int{unix.PACKET_VNET_HDR, unix.PACKET_QDISC_BYPASS} {
			if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, option, 1); err != nil {
				return fmt.Errorf("packet socket option %d: %w", option, err)
			}
		}
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 16<<20)
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	s.iovs = make([]unix.Iovec, len(frames))
	s.msgs = make([]mmsghdr, len(frames))
	for i, f := range frames {
		s.iovs[i].Base = &f[0]
		s.iovs[i].SetLen(len(f))
		s.msgs[i].hdr.Iov = &s.iovs[i]
		s.msgs[i].hdr.Iovlen = 1
	}
	return s, nil
}

func (s *sender) Close() {
	if s.fd > 0 {
		unix.Close(s.fd)
	}
}

// send sends up to n of the next frames and returns how many datagrams left. The raw
// system call does not wake the scheduler's watcher, which would want CPU time too.
func (s *sender) send(n int) (int, error) {
	n = min(n, len(s.msgs)-s.next)
	r, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msgs[s.next])), uintptr(n), 0, 0, 0)
	switch errno {
	case 0:
		s.next = (s.next + int(r)) % len(s.msgs)
		return int(r) * s.weight, nil
	case unix.ENOBUFS, unix.EAGAIN, unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("sendmmsg: %w", errno)
}

// pace is how fast to send: datagrams per second in all (0 = as fast as possible),
// in system calls of batch frames. An even pace waits in a loop instead of sleeping.
type pace struct {
	rate  float64
	batch int
	even  bool
}

// drive sends from all senders in turn for a time, and returns the number of
// datagrams that left. before is called ahead of each system call, if not nil.
// It is called on the main thread.
func drive(senders []*sender, p pace, d time.Duration, before func(*sender)) (uint64, error) {
	unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	start := time.Now()
	var sent uint64
	for turn := 0; ; turn++ {
		s := senders[turn%len(senders)]
		chunk := float64(p.batch * s.weight)
		for p.rate > 0 {
			ahead := float64(sent) + chunk - p.rate*time.Since(start).Seconds()
			if p.even {
				ahead -= chunk - float64(s.weight)
			}
			if ahead <= 0 {
				break
			}
			if !p.even {
				ts := unix.NsecToTimespec(int64(ahead / p.rate * 1e9))
				unix.Nanosleep(&ts, nil)
			}
		}
		if time.Since(start) >= d {
			return sent, nil
		}
		if before != nil {
			before(s)
		}
		n, err := s.send(p.batch)
		if err != nil {
			return sent, err
		}
		sent += uint64(n)
	}
}
