package turnsrv

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"rtcd/turnsrv/relay"
)

// conn is one client connection over TCP, TLS or DTLS: a reader that asks the
// table, and a writer with a bounded queue.
type conn struct {
	srv    *Server
	client *relay.Client
	raw    net.Conn // below TLS or DTLS, so that closing never waits for a peer
	nc     net.Conn // what is read and written
	cork   *cork    // TLS: between the two, or nil

	accepted      time.Time
	authenticated bool      // the gate knows; the reader's
	first         []byte    // what somebody else has read; the reader's
	deadline      time.Time // for reading, as set; the reader's
	lastFrame     time.Time // the reader's

	mu      sync.Mutex // guards all below
	queue   []byte     // frames that wait to be written
	ends    []int      // TLS and DTLS: the end of each frame in queue
	writing int        // bytes that are being written

	wake chan struct{} // tells the writer that something waits
	done chan struct{} // closed by close
	once sync.Once
}

// Read buffer sizes of a stream, in bytes. A connection that keeps filling its
// buffer gets a larger one, so that bulk takes few calls and idle ones little memory.
const (
	firstReadBuffer = 2 * maxAnonymousFrame
	lastReadBuffer  = 2 * (64 << 10)
	maxRecord       = 8192  // of what pion/dtls reads
	maxSendRecord   = 16384 // of a DTLS record, RFC 6347 section 4.1
	fewFrames       = 16    // that get a TLS record each
)

func newConn(s *Server, tr relay.Transport, raw, nc net.Conn) *conn {
	c := &conn{
		srv: s, raw: raw, nc: nc, accepted: time.Now(),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	c.client = relay.NewConnection(addrPort(nc.RemoteAddr()), addrPort(nc.LocalAddr()), tr, c)
	return c
}

// addrPort returns the address of a socket, unmapped and without zone.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// serve is the life of a connection, on its reader's goroutine. It returns when the
// writer has ended too and the table has forgotten the client.
func (c *conn) serve() {
	var writer sync.WaitGroup
	defer func() {
		c.close()
		writer.Wait()
		if c.nc != c.raw && !c.client.Transport.Stream() {
			c.nc.Close() // DTLS has goroutines of its own
		}
		c.srv.do(func(r *round) { r.srv.table.ClientGone(r.time(), c.client, &r.batch) })
	}()
	c.lastFrame = c.accepted
	err := c.handshake()
	if _, secure := c.nc.(handshaker); secure {
		c.traceHandshake(err)
	}
	if err != nil {
		c.srv.ends.count(errHandshake)
		c.srv.sampled.debug("handshake failed", "transport", c.client.Transport.String(), "client", c.client.Addr, "error", err)
		return
	}
	// The connection owns its writer; close ends it.
	writer.Go(c.write)
	if c.client.Transport.Stream() {
		err = c.readStream()
	} else {
		err = c.readMessages()
	}
	if label := c.srv.ends.count(err); label != "" {
		c.srv.traceConn(relay.TraceEnded, c.client.Transport, c.raw.RemoteAddr(), c.raw.LocalAddr(), label, "")
	}
}

// handshaker is a connection of TLS or DTLS.
type handshaker interface{ HandshakeContext(context.Context) error }

// handshake does that of TLS or DTLS, within the time that a client has to
// authenticate.
func (c *conn) handshake() error {
	h, ok := c.nc.(handshaker)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.srv.opt.Limits.Handshake)
	defer cancel()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	return h.HandshakeContext(ctx)
}

// close ends the connection from any goroutine; the reader does the rest.
func (c *conn) close() {
	c.once.Do(func() {
		close(c.done)
		c.raw.Close()
	})
}

// readStream reads frames of TCP or TLS until the connection ends.
func (c *conn) readStream() error {
	buf := make([]byte, firstReadBuffer)
	have := copy(buf, c.first) // bytes in buf
	var partial time.Time      // when the first byte of an incomplete frame came
	if have > 0 {
		partial = time.Now()
	}
	for {
		c.setReadDeadline(partial)
		n, err := c.nc.Read(buf[have:])
		if n == 0 && err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				if err = c.late(partial); err == nil {
					continue
				}
			}
			return err
		}
		have += n
		used, err := c.frames(buf[:have])
		if err != nil {
			return err
		}
		full := have == len(buf)
		have = copy(buf, buf[used:have])
		if used > 0 || partial.IsZero() {
			partial = time.Time{}
			if have > 0 {
				partial = time.Now()
			}
		}
		if full && c.authenticated && len(buf) < lastReadBuffer {
			buf = append(make([]byte, 0, 2*len(buf)), buf[:have]...)
			buf = buf[:cap(buf)]
		}
	}
}

// frames hands all whole frames in buf to the table, in one round, and returns how
// many bytes they took.
func (c *conn) frames(buf []byte) (used int, err error) {
	if n, err := ScanFrame(buf, c.maxFrame()); n == 0 {
		return 0, err
	}
	ok := c.srv.do(func(r *round) {
		for {
			var n int
			if n, err = ScanFrame(buf[used:], c.maxFrame()); n == 0 {
				c.sawFrame()
				return
			}
			r.srv.table.HandleClient(r.time(), c.client, buf[used:used+n], 0, &r.batch)
			used += n
			if c.client.Expelled() {
				err = errExpelled
				return
			}
		}
	})
	if !ok {
		return used, errPanicked
	}
	return used, err
}

func (c *conn) maxFrame() int {
	if c.client.Authenticated() {
		return maxFrame
	}
	return maxAnonymousFrame
}

// readMessages reads the records of DTLS, a message each, until the connection ends.
func (c *conn) readMessages() error {
	buf := make([]byte, maxRecord)
	for {
		c.setReadDeadline(time.Time{})
		n, err := c.nc.Read(buf)
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				if err = c.late(time.Time{}); err == nil {
					continue
				}
			}
			return err
		}
		ok := c.srv.do(func(r *round) {
			r.srv.table.HandleClient(r.time(), c.client, buf[:n], 0, &r.batch)
			c.sawFrame()
		})
		switch {
		case !ok:
			return errPanicked
		case c.client.Expelled():
			return errExpelled
		}
	}
}

// sawFrame notes that the client is alive, and tells the gate when it is known,
// before the client learns it.
func (c *conn) sawFrame() {
	c.lastFrame = time.Now()
	if !c.authenticated && c.client.Authenticated() {
		c.authenticated = true
		c.srv.gate(c.client.Transport).authenticated(c.client.Addr.Addr())
	}
}

// setReadDeadline sets when reading has lasted too long, unless what is set is
// close enough: setting it is not free.
func (c *conn) setReadDeadline(partial time.Time) {
	at := c.readBy(partial)
	if d := at.Sub(c.deadline); d < 0 || d > c.srv.opt.Limits.Frame/16 {
		c.deadline = at
		c.nc.SetReadDeadline(at)
	}
}

// readBy is the time until which the client may keep silent.
func (c *conn) readBy(partial time.Time) time.Time {
	l := &c.srv.opt.Limits
	at := c.lastFrame.Add(l.Idle)
	if !c.authenticated {
		at = c.accepted.Add(l.Handshake)
	}
	if !partial.IsZero() {
		if by := partial.Add(l.Frame); by.Before(at) {
			at = by
		}
	}
	return at
}

// late judges a passed deadline: nil means that the client may go on.
func (c *conn) late(partial time.Time) error {
	c.deadline = time.Time{}
	l, now := &c.srv.opt.Limits, time.Now()
	switch {
	case !partial.IsZero() && !now.Before(partial.Add(l.Frame)):
		return errSlowFrame
	case !c.authenticated && !now.Before(c.accepted.Add(l.Handshake)):
		return errUnauthenticated
	case c.client.HasAllocation():
		c.lastFrame = now
		return nil
	case !now.Before(c.lastFrame.Add(l.Idle)):
		return errIdle
	}
	return nil
}

// enqueue takes one message for the client, copying it, and reports whether its
// writer has to be told. A client that reads too slowly loses what does not fit:
// nobody else waits for it.
func (c *conn) enqueue(m *relay.Send, counts *relay.Counts) (wake bool) {
	n, pad := len(m.Head)+len(m.Body), int(m.Pad)
	message := !c.client.Transport.Stream()
	if message && len(m.Head) > 0 && m.Head[0]>>6 == 1 {
		// RFC 8656 section 12.5 lets datagrams be padded too. Clients that frame
		// DTLS as they do TCP wait for it (pion/turn's STUNConn).
		pad = -n & 3
	}
	n += pad
	if message && n > maxSendRecord {
		counts.Lost(c.client.Transport, m, relay.TooLarge)
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	most := c.srv.opt.Limits.Queue
	if len(c.queue) > 0 && c.writing+len(c.queue)+n > most {
		counts.Lost(c.client.Transport, m, relay.QueueFull)
		return false
	}
	wake = len(c.queue) == 0
	c.queue = append(append(grow(c.queue, n, most), m.Head...), m.Body...)
	c.queue = append(c.queue, padding[:pad]...)
	if c.client.Transport != relay.TCP {
		c.ends = append(c.ends, len(c.queue))
	}
	return wake
}

var padding [4]byte

// grow makes room for n more bytes. It takes large steps, and the last one to most bytes, or
// what is needed: a client that reads nothing shall not cost more than its queue, and what the
// queue was before is garbage.
func grow(b []byte, n, most int) []byte {
	need := len(b) + n
	if need <= cap(b) {
		return b
	}
	step := 4 * cap(b)
	if step > most/2 {
		step = most
	}
	return append(make([]byte, 0, max(need, step)), b...)
}

// wakeWriter tells the writer that there is something in the queue.
func (c *conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write is the life of the writer: it takes all that waits and writes it at once.
func (c *conn) write() {
	defer c.close()
	defer func() {
		if v := recover(); v != nil {
			c.srv.panicked(v)
		}
	}()
	var spare []byte
	var spareEnds []int
	var kept keeper
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		queue, ends := c.queue, c.ends
		c.queue, c.ends, c.writing = spare[:0], spareEnds[:0], len(queue)
		c.mu.Unlock()
		c.nc.SetWriteDeadline(time.Now().Add(c.srv.opt.Limits.Write))
		if err := c.writeAll(queue, ends); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.srv.ends.count(errSlowReader)
			}
			return
		}
		spare, spareEnds = kept.keep(queue), ends
		c.mu.Lock()
		c.writing = 0
		c.mu.Unlock()
	}
}

// keeper keeps buffers for use again, large ones while they are needed.
type keeper struct{ spacious int }

const (
	largeBuffer = 64 << 10 // bytes
	maxSpacious = 16       // times in a row that a large buffer is hardly used
)

// keep returns a used buffer, or nil if it is to be given up.
func (k *keeper) keep(b []byte) []byte {
	if cap(b) <= largeBuffer {
		return b
	}
	if len(b) >= cap(b)/4 {
		k.spacious = 0
		return b
	}
	if k.spacious++; k.spacious <= maxSpacious {
		return b
	}
	return nil
}

// writeAll writes frames. TCP gets all in one call. DTLS gets a record each, which is
// its message. TLS gets a record each too while they are few, since some clients
// take one frame from a record (coturn's turnutils_uclient); when there are many,
// fewer records save most of the work.
func (c *conn) writeAll(queue []byte, ends []int) error {
	switch {
	case c.client.Transport == relay.DTLS:
		return writeEach(c.nc, queue, ends)
	case c.client.Transport == relay.TLS && len(ends) <= fewFrames && c.cork != nil:
		c.cork.hold()
		err := writeEach(c.nc, queue, ends)
		return errors.Join(err, c.cork.release())
	}
	_, err := c.nc.Write(queue)
	return err
}

func writeEach(w io.Writer, queue []byte, ends []int) error {
	from := 0
	for _, to := range ends {
		if _, err := w.Write(queue[from:to]); err != nil {
			return err
		}
		from = to
	}
	return nil
}
