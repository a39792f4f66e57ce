package signaling

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/internal/rawtcp"
)

// wire is the connection under a WebSocket. The library reads through it and writes its
// control frames; the session's frames are put into it as they are, many in one write. It gives
// every write a deadline, and lets nothing follow a close frame.
type wire struct {
	net.Conn
	timeout time.Duration
	r       *bufio.Reader // what the library reads from

	dead    time.Time                 // when silence has lasted too long; the reader's, as the two that follow
	until   time.Time                 // the read deadline: dead, or earlier, to see whether the socket may be parked
	waiting bool                      // between two messages
	taken   int                       // bytes read since the last message
	most    int                       // so many are one message, however it is cut into frames
	staying bool                      // in a stay
	filled  bool                      // and the last read took all that there was room for
	closing atomic.Bool               // the far side has a closeGrace left
	cut     atomic.Pointer[time.Time] // when that ends; nil before the close frame is out

	try rawtcp.Trier // the connection, if it can read and write without waiting; else nil

	mu     sync.Mutex // guards the following, and makes writes whole
	armed  time.Time  // when the write deadline was set
	late   []byte     // what trySend took and there was no room for
	closed bool       // a close frame is out
}

// Frames of a server (RFC 6455 §5.2): FIN and opcode, length in 7, 16 or 64 bits, no mask.
// A client's have a mask of 4 bytes.
const (
	finText    = 0x80 | websocket.TextMessage
	finClose   = 0x80 | websocket.CloseMessage
	finPing    = 0x80 | websocket.PingMessage
	finPong    = 0x80 | websocket.PongMessage
	masked     = 0x80
	maxControl = 125 // bytes in a control frame

	frameHeader = 2 + 4 // bytes before them
)

// appendHeader appends the header of a frame with n bytes of payload.
func appendHeader(b []byte, op byte, n int) []byte {
	switch {
	case n < 126:
		return append(b, op, byte(n))
	case n < 1<<16:
		return append(b, op, 126, byte(n>>8), byte(n))
	}
	u := uint64(n)
	return append(b, op, 127, byte(u>>56), byte(u>>48), byte(u>>40), byte(u>>32), byte(u>>24), byte(u>>16), byte(u>>8), byte(u))
}

// Write implements net.Conn for the library, which writes a frame at a time.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, err := w.writeLocked(p)
	if len(p) > 0 && p[0] == finClose {
		w.closed = true
	}
	return n, err
}

// send writes whole frames, none of them a close frame.
func (w *wire) send(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.writeLocked(p)
	return err
}

// errBusy is trySend's when somebody else writes: it has taken nothing.
var errBusy = errors.New("somebody else writes")

// trySend is send without waiting. It takes p unless somebody else writes; if it reports false,
// some of it still has to be sent, which the next write does.
func (w *wire) trySend(p []byte) (all bool, err error) {
	if !w.mu.TryLock() {
		return false, errBusy
	}
	defer w.mu.Unlock()
	switch {
	case w.closed:
		return false, websocket.ErrCloseSent
	case len(w.late) > 0:
		w.late = append(w.late, p...)
		return false, nil
	}
	n, err := w.try.TryWrite(p)
	if err == nil && n < len(p) {
		w.late = bytes.Clone(p[n:])
	}
	return n == len(p), err
}

// writeLocked takes at most timeout, and at least three quarters of it before it fails: the
// deadline is not set anew for each of many writes.
func (w *wire) writeLocked(p []byte) (int, error) {
	if w.closed {
		return 0, websocket.ErrCloseSent
	}
	now := time.Now()
	if now.Sub(w.armed) > w.timeout/4 {
		if err := w.Conn.SetWriteDeadline(now.Add(w.timeout)); err != nil {
			return 0, err
		}
		w.armed = now
	}
	if late := w.late; len(late) > 0 {
		w.late = nil
		if _, err := w.Conn.Write(late); err != nil {
			return 0, err
		}
	}
	if len(p) == 0 {
		return 0, nil
	}
	return w.Conn.Write(p)
}

// SetWriteDeadline does nothing: the wire sets its own.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline, for the same reason.
func (w *wire) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

// arm sets the read deadline, but not that of a socket which is closing.
func (w *wire) arm(at time.Time) {
	w.until = at
	w.Conn.SetReadDeadline(at)
	if w.closing.Load() {
		w.Conn.SetReadDeadline(earlier(w.end(), time.Now().Add(closeGrace)))
	}
}

// end is when silence has lasted too long: in a socket that is closing, its grace.
func (w *wire) end() time.Time {
	if cut := w.cut.Load(); cut != nil {
		return earlier(*cut, w.dead)
	}
	return w.dead
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Read implements net.Conn for the library. In the middle of a message only silence
// until dead is an end.
func (w *wire) Read(p []byte) (int, error) {
	if w.staying {
		n, err := w.try.TryRead(p)
		w.taken += n
		w.filled = n == len(p)
		return n, err
	}
	n, err := w.Conn.Read(p)
	if n == 0 && !w.waiting && isTimeout(err) && time.Now().Before(w.dead) && !w.closing.Load() {
		w.arm(w.dead)
		n, err = w.Conn.Read(p)
	}
	if w.taken += n; err == nil && w.most > 0 && w.taken > w.most {
		return n, errCutUp
	}
	return n, err
}

// errCutUp is a message of so many frames that the read limit, which counts what is in
// them, says too little.
var errCutUp = errors.New("too many frames for one message")

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// wiringHijacker slips a wire under the WebSocket library.
type wiringHijacker struct {
	http.ResponseWriter
	timeout time.Duration
	wire    *wire
}

// readBuffer is the size of a read buffer: most offers fit. Only sockets that are not parked
// have one.
const readBuffer = 2048

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, readBuffer) }}

// load gives the wire's reader, which the library keeps, a buffer if it has none.
func (w *wire) load() {
	if w.r.Size() == 0 {
		spare := readers.Get().(*bufio.Reader)
		spare.Reset(w)
		*w.r = *spare
	}
}

// unload takes the reader's buffer away, if nothing is in it. Nobody may read before the next
// load.
func (w *wire) unload() {
	if w.r.Buffered() == 0 {
		spare := *w.r
		spare.Reset(nil)
		readers.Put(&spare)
		*w.r = bufio.Reader{}
	}
}

// Hijack implements http.Hijacker.
func (h *wiringHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	conn.SetDeadline(time.Time{})
	conn = rawtcp.Wrap(conn)
	h.wire = &wire{Conn: conn, timeout: h.timeout}
	h.wire.try, _ = conn.(rawtcp.Trier)
	if h.wire.r = rw.Reader; rw.Reader.Buffered() == 0 { // else the library refuses
		h.wire.r = new(bufio.Reader)
		h.wire.load()
		rw.Reader = h.wire.r
	}
	return h.wire, rw, nil
}
