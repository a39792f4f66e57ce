package udp

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of a writer's memory.
const (
	txMessages = 64  // per sendmmsg
	txVectors  = 512 // per sendmmsg; a message of 64 segments takes up to 192
	txControl  = 80  // bytes of control messages per message
	maxSegs    = 64  // UDP_MAX_SEGMENTS of kernels before 6.9
	maxJoined  = 65000
)

// fastWriter collects datagrams by descriptor and writes each descriptor's with
// sendmmsg, joining neighbours of one destination and size into one message that
// the kernel splits (UDP_SEGMENT in udp(7)).
type fastWriter struct {
	loop   *fastLoop
	worker int           // whose it is, or -1
	since  atomic.Uint64 // loop.epoch when the batch began, 0 between batches
	ctr    counters

	out    []outgoing
	groups []group
	byFD   []int32 // index of the group plus 1

	// One sendmmsg.
	msgs  []mmsghdr
	parts []part // of each message, what it was made of
	iov   []unix.Iovec
	names []sockaddr
	ctl   []byte
	nm    int // messages
	nv    int // vectors
}

// outgoing is one datagram to send, linked to the next of its group.
type outgoing struct {
	Message
	next int32 // index in out plus 1
}

// group is what one descriptor is to send.
type group struct {
	s           *Socket
	fd          int32
	first, last int32 // indexes in out plus 1
}

// part is a message under construction: n datagrams from out[first-1] on.
type part struct {
	first int32
	n     int
	size  int  // of each but perhaps the last
	total int  // bytes
	done  bool // the last one was shorter
}

func (l *fastLoop) Writer() Writer { return l.newWriter(-1) }

func (l *fastLoop) newWriter(worker int) *fastWriter {
	w := &fastWriter{
		loop: l, worker: worker,
		msgs: make([]mmsghdr, txMessages), parts: make([]part, txMessages), iov: make([]unix.Iovec, txVectors),
		names: make([]sockaddr, txMessages), ctl: make([]byte, txMessages*txControl),
	}
	l.mu.Lock()
	l.writers = append(l.writers, w)
	l.mu.Unlock()
	return w
}

func (w *fastWriter) Begin() { w.since.Store(w.loop.epoch.Load()) }

func (w *fastWriter) End() {
	w.forget()
	w.since.Store(0)
	if w.loop.retiring.Load() > 0 {
		w.loop.reclaim()
	}
}

func (w *fastWriter) Send(s *Socket, m Message) {
	fd := s.fast.at(max(w.worker, 0)).fd
	w.out = append(w.out, outgoing{Message: m})
	at := int32(len(w.out))
	if int(fd) >= len(w.byFD) {
		w.byFD = append(w.byFD, make([]int32, int(fd)+1-len(w.byFD)+64)...)
	}
	i := w.byFD[fd]
	if i == 0 {
		w.groups = append(w.groups, group{s, fd, at, at})
		w.byFD[fd] = int32(len(w.groups))
		return
	}
	g := &w.groups[i-1]
	w.out[g.last-1].next = at
	g.last = at
}

func (w *fastWriter) Flush() {
	for i := range w.groups {
		w.writeGroup(&w.groups[i])
	}
	w.forget()
}

func (w *fastWriter) forget() {
	for i := range w.groups {
		w.byFD[w.groups[i].fd] = 0
	}
	clear(w.groups)
	clear(w.out)
	w.groups, w.out = w.groups[:0], w.out[:0]
	w.nm, w.nv = 0, 0
}

func (w *fastWriter) writeGroup(g *group) {
	limit := int(w.loop.gso.Load())
	for at := g.first; at != 0; {
		o := &w.out[at-1]
		if o.DontFragment {
			w.write(g)
			w.writeUnfragmented(g, at)
			at = o.next
			continue
		}
		if w.nv+3 > len(w.iov) || w.nm == len(w.msgs) && !w.joins(o, limit) {
			w.write(g)
		}
		w.add(g, at, limit)
		at = o.next
	}
	w.write(g)
}

func (o *outgoing) size() int { return len(o.Head) + len(o.Body) + int(o.Pad) }

// joins reports whether a datagram may become one more segment of the last message.
func (w *fastWriter) joins(o *outgoing, limit int) bool {
	if w.nm == 0 {
		return false
	}
	p, n := &w.parts[w.nm-1], o.size()
	if p.done || n == 0 || n > p.size || p.size > limit || p.n == maxSegs || p.total+n > maxJoined {
		return false
	}
	first := &w.out[p.first-1]
	return first.To == o.To && first.From == o.From
}

// add appends a datagram to the call, as a segment if it can be.
func (w *fastWriter) add(g *group, at int32, limit int) {
	o := &w.out[at-1]
	if !w.joins(o, limit) {
		w.begin(g, at)
	}
	i := w.nm - 1
	p, h := &w.parts[i], &w.msgs[i].hdr
	start := w.nv
	w.vector(o.Head)
	w.vector(o.Body)
	w.vector(zeros[:o.Pad])
	n := o.size()
	p.n++
	p.total += n
	p.done = n < p.size
	h.SetIovlen(int(h.Iovlen) + w.nv - start)
	if p.n == 2 {
		used := int(h.Controllen)
		h.Control = &w.ctl[i*txControl]
		h.SetControllen(used + putSegment(w.ctl[i*txControl+used:], p.size))
	}
}

// begin starts a message.
func (w *fastWriter) begin(g *group, at int32) {
	o, i := &w.out[at-1], w.nm
	w.nm++
	w.parts[i] = part{first: at, size: o.size()}
	h := &w.msgs[i].hdr
	*h = unix.Msghdr{
		Name: (*byte)(unsafe.Pointer(&w.names[i])), Namelen: putSockaddr(&w.names[i], o.To),
		Iov: &w.iov[w.nv],
	}
	if g.s.wildcard && o.From.IsValid() && !o.From.IsUnspecified() {
		h.Control = &w.ctl[i*txControl]
		h.SetControllen(putSource(w.ctl[i*txControl:], o.From))
	}
}

func (w *fastWriter) vector(b []byte) {
	if len(b) == 0 {
		return
	}
	w.iov[w.nv].Base = unsafe.SliceData(b)
	w.iov[w.nv].SetLen(len(b))
	w.nv++
}

// write does the call, as often as it takes. What fails is counted and passed over.
func (w *fastWriter) write(g *group) {
	retried := false
	for i := 0; i < w.nm; {
		n, errno := w.call(g.fd, i)
		if errno == 0 {
			w.count(w.parts[i : i+n])
			i += n
			retried = false
			continue
		}
		switch {
		case errno == unix.EINTR:
			continue
		case !retried && !g.s.listener && pending(errno):
			retried = true // an ICMP error of an earlier datagram, told by this call
			continue
		case w.parts[i].n > 1 && errno != unix.EAGAIN && errno != unix.ENOBUFS:
			w.writeSingly(g, w.parts[i], errno)
		default:
			w.countFailed(w.parts[i].n, errno)
		}
		retried = false
		i++
	}
	w.nm, w.nv = 0, 0
}

// call writes the messages from i on, and returns how many it did.
func (w *fastWriter) call(fd int32, i int) (int, unix.Errno) {
	if i+1 == w.nm {
		return 1, send(fd, &w.msgs[i].hdr)
	}
	return sendmmsg(fd, w.msgs[i:w.nm])
}

// pending reports whether an error may be one that the socket had kept (IP_RECVERR).
func pending(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.EPROTO, unix.EACCES, unix.ENOPROTOOPT,
		unix.EHOSTDOWN, unix.EOPNOTSUPP, unix.EPERM:
		return true
	}
	return false
}

func (w *fastWriter) count(parts []part) {
	packets, joined := 0, 0
	for i := range parts {
		packets += parts[i].n
		if parts[i].n > 1 {
			joined += parts[i].n
		}
	}
	w.ctr.writeCalls.Add(1)
	w.ctr.writePackets.Add(uint64(packets))
	if joined > 0 {
		w.ctr.gsoPackets.Add(uint64(joined))
	}
}

func (w *fastWriter) countFailed(n int, errno unix.Errno) {
	for range n {
		w.ctr.countError(errno)
	}
}

// writeSingly writes the datagrams of a refused message one by one. If they pass,
// it was the joining that the kernel did not like.
func (w *fastWriter) writeSingly(g *group, p part, refused unix.Errno) {
	passed := false
	at := p.first
	for range p.n {
		o := &w.out[at-1]
		if errno := w.writeOne(g, o); errno == 0 {
			passed = true
		} else {
			w.countFailed(1, errno)
		}
		at = o.next
	}
	if passed {
		w.loop.segmentRefused(p.size, refused)
	}
}

// writeOne writes one datagram in a call of its own, beside the one that is being
// put together.
func (w *fastWriter) writeOne(g *group, o *outgoing) unix.Errno {
	var (
		h   unix.Msghdr
		iov [3]unix.Iovec
		to  sockaddr
		ctl [txControl]byte
		nv  = 0
	)
	for _, b := range [][]byte{o.Head, o.Body, zeros[:o.Pad]} {
		if len(b) > 0 {
			iov[nv].Base = unsafe.SliceData(b)
			iov[nv].SetLen(len(b))
			nv++
		}
	}
	h.Iov = &iov[0]
	h.SetIovlen(nv)
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(&to)), putSockaddr(&to, o.To)
	if g.s.wildcard && o.From.IsValid() && !o.From.IsUnspecified() {
		h.Control = &ctl[0]
		h.SetControllen(putSource(ctl[:], o.From))
	}
	errno := send(g.fd, &h)
	if errno != 0 && !g.s.listener && pending(errno) {
		errno = send(g.fd, &h)
	}
	if errno == 0 {
		w.ctr.writeCalls.Add(1)
		w.ctr.writePackets.Add(1)
	}
	return errno
}

// fragmentMu lets one goroutine at a time change what a socket does about
// fragments. Others that send on the same socket meanwhile set the bit too, which
// does no harm.
var fragmentMu sync.Mutex

// writeUnfragmented writes one datagram with the DF bit, which is a property of the
// socket: IPv4 has no control message for it.
func (w *fastWriter) writeUnfragmented(g *group, at int32) {
	fragmentMu.Lock()
	defer fragmentMu.Unlock()
	a := g.s.Addr.Addr()
	setFragment(int(g.fd), a, true)
	defer setFragment(int(g.fd), a, false)
	if errno := w.writeOne(g, &w.out[at-1]); errno != 0 {
		w.countFailed(1, errno)
	}
}
