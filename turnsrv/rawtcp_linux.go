package turnsrv

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rawTCP reads and writes a TCP connection with raw system calls, which take
// microseconds and never block. Those of package net tell the scheduler each time,
// and where the machine idles between packets that wakes a thread of the runtime.
// Waiting, and so the deadlines, stays with the netpoller. One goroutine may read
// and one may write at a time.
type rawTCP struct {
	net.Conn
	raw    syscall.RawConn
	rd, wr rawCall
}

// rawCall is one Read or Write on its way.
type rawCall struct {
	b     []byte // what is left of the caller's
	n     int    // bytes done
	errno unix.Errno
	try   func(fd uintptr) bool // made once: a closure for each call would cost memory
}

// maxRawRead bounds the bytes that one call copies while it holds the processor.
const maxRawRead = 64 << 10

func newRawTCP(nc net.Conn) net.Conn {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return nc
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nc
	}
	c := &rawTCP{Conn: nc, raw: raw}
	c.rd.try, c.wr.try = c.rd.read, c.wr.write
	return c
}

func (c *rawTCP) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.rd.b = b[:min(len(b), maxRawRead)]
	n, err := c.rd.result(c.raw.Read(c.rd.try))
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

func (c *rawTCP) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.wr.b = b
	return c.wr.result(c.raw.Write(c.wr.try))
}

// result ends the call and says how it went; err is the netpoller's.
func (r *rawCall) result(err error) (int, error) {
	n, errno := r.n, r.errno
	r.b, r.n, r.errno = nil, 0, 0
	if err == nil && errno != 0 {
		err = errno
	}
	return n, err
}

// read returns false when there is nothing yet.
func (r *rawCall) read(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&r.b[0])), uintptr(len(r.b)))
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			r.errno = errno
			return true
		}
	}
}

// write returns false when the rest has to wait for room.
func (r *rawCall) write(fd uintptr) bool {
	for len(r.b) > 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&r.b[0])), uintptr(len(r.b)),
			unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			r.b, r.n = r.b[n:], r.n+int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			r.errno = errno
			return true
		}
	}
	return true
}
