package rawtcp

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// conn is a TCP connection. One goroutine may read and one may write at a time.
type conn struct {
	net.Conn
	raw    syscall.RawConn
	rd, wr call
	put    func(fd uintptr) // made once, too
	fd     uintptr          // in Each
}

// call is one Read or Write on its way.
type call struct {
	b     []byte // what is left of the caller's
	n     int    // bytes done
	errno unix.Errno
	try   func(fd uintptr) bool // made once: a closure for each call would cost memory
}

// maxRead bounds the bytes that one call copies while it holds the processor.
const maxRead = 64 << 10

// Wrap returns nc with raw system calls if it is TCP (see TCP), else nc. Of the result
// one goroutine may read and one may write at a time.
func Wrap(nc net.Conn) net.Conn {
	t := TCP(nc)
	if t == nil {
		return nc
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nc
	}
	c := &conn{Conn: nc, raw: raw}
	c.rd.try, c.wr.try = c.rd.read, c.wr.write
	c.put = func(fd uintptr) { c.wr.write(fd) }
	return c
}

// NetConn returns the connection under c.
func (c *conn) NetConn() net.Conn { return c.Conn }

func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.rd.b = b[:min(len(b), maxRead)]
	n, err := c.rd.result(c.raw.Read(c.rd.try))
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

func (c *conn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.wr.b = b
	return c.wr.result(c.raw.Write(c.wr.try))
}

// TryWrite writes what there is room for and does not wait; it knows no deadline.
func (c *conn) TryWrite(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.wr.b = b
	return c.wr.result(c.raw.Control(c.put))
}

// Each calls f each time that something may have come.
func (c *conn) Each(f func() (done bool)) error {
	return c.raw.Read(func(fd uintptr) bool {
		c.fd = fd
		return f()
	})
}

// TryRead reads what is there, within Each.
func (c *conn) TryRead(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c.rd.b = b[:min(len(b), maxRead)]
	if !c.rd.read(c.fd) {
		return 0, ErrNothing
	}
	n, err := c.rd.result(nil)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return n, err
}

// result ends the call and says how it went; err is the netpoller's.
func (r *call) result(err error) (int, error) {
	n, errno := r.n, r.errno
	r.b, r.n, r.errno = nil, 0, 0
	if err == nil && errno != 0 {
		err = errno
	}
	return n, err
}

// read returns false when there is nothing yet.
func (r *call) read(fd uintptr) bool {
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
func (r *call) write(fd uintptr) bool {
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
