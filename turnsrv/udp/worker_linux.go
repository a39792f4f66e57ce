package udp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of a worker's memory.
const (
	rxSlots    = 64      // datagrams, or joined ones, of one batch
	rxRelay    = 16      // of these, at most from one relay socket at a time
	rxSlotSize = 1 << 16 // bytes; pages that nothing came into cost nothing
	rxControl  = 96      // bytes of control messages per slot
	maxEvents  = 128     // ready sockets of one round
	maxErrors  = 16      // ICMP errors that one socket may report in one round
	maxRounds  = 64      // before a look whether the loop is closed
)

// worker reads the sockets of one epoll.
type worker struct {
	loop *fastLoop
	id   int
	w    *fastWriter // the handler's

	ep     *os.File // what the netpoller watches: epfd, or the lull around it
	epfd   int
	lull   *lull // nil if it never pauses
	events []unix.EpollEvent
	ready  int  // events of this round
	read   int  // slots filled in this round
	left   bool // some socket may have more than this round read
	pacer  pacer

	msgs  []mmsghdr
	iov   []unix.Iovec
	names []sockaddr
	ctl   []byte
	buf   []byte // of the kernel, not of the heap: megabytes that the collector would count as live
	used  int    // slots that this batch has filled
}

func newWorker(l *fastLoop, id int) (*worker, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	buf, err := unix.Mmap(-1, 0, rxSlots*rxSlotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		unix.Close(epfd)
		return nil, os.NewSyscallError("mmap", err)
	}
	var pauses *lull
	watched := epfd
	if l.opt.Coalesce > 0 {
		if pauses, err = newLull(epfd); err != nil {
			unix.Close(epfd)
			unix.Munmap(buf)
			return nil, err
		}
		watched = pauses.fd
	}
	// os.NewFile puts descriptors that do not block into the netpoller.
	unix.SetNonblock(watched, true)
	k := &worker{
		loop: l, id: id, pacer: pacer{pause: l.opt.Coalesce},
		ep: os.NewFile(uintptr(watched), "epoll"), epfd: epfd, lull: pauses,
		events: make([]unix.EpollEvent, maxEvents),
		msgs:   make([]mmsghdr, rxSlots), iov: make([]unix.Iovec, rxSlots), names: make([]sockaddr, rxSlots),
		ctl: make([]byte, rxSlots*rxControl), buf: buf,
	}
	k.w = l.newWriter(id)
	for i := range k.msgs {
		h := &k.msgs[i].hdr
		k.iov[i].Base = &k.buf[i*rxSlotSize]
		k.iov[i].SetLen(rxSlotSize)
		h.Iov = &k.iov[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&k.names[i]))
		h.Control = &k.ctl[i*rxControl]
		k.offer(i)
	}
	return k, nil
}

// offer tells the kernel how much room slot i has; with each datagram it writes
// there how much it took.
func (k *worker) offer(i int) {
	k.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet6
	k.msgs[i].hdr.SetControllen(rxControl)
}

// run is the life of the worker: until its epoll is closed it waits for sockets
// that are ready and goes round them.
func (k *worker) run(h Handler) error {
	conn, err := k.ep.SyscallConn()
	if err != nil {
		return err
	}
	// The netpoller forgets at each conn.Read that the epoll became ready, so each
	// must look itself before it waits; work does.
	work := func(uintptr) bool { return k.work(h) }
	for {
		if err := conn.Read(work); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return os.ErrClosed
			}
			return err
		}
	}
}

// work goes round the ready sockets until nothing is left to read, and returns
// false then: the netpoller may wait. After maxRounds it returns true, so that the
// closing of the epoll shows under any load.
func (k *worker) work(h Handler) bool {
	for range maxRounds {
		if !k.poll() {
			if k.lull != nil && k.lull.end() {
				continue
			}
			return false
		}
		k.round(h)
		if !k.left && k.pauses() {
			return false
		}
	}
	return true
}

// pauses makes the wait that follows one for a time, or for datagrams. It reports
// false if the worker must look once more before it waits.
func (k *worker) pauses() bool {
	switch {
	case k.lull == nil:
		return true
	case k.pacer.rests(k.read):
		return k.lull.begin(k.pacer.pause)
	default:
		return !k.lull.end()
	}
}

// close ends the worker's wait; then nothing may use its epoll and its memory any more.
func (k *worker) close() {
	k.ep.Close()
	unix.Munmap(k.buf)
	k.buf = nil
	if k.lull != nil {
		k.lull.close()
	}
}

// poll looks which sockets are ready, and begins a batch if any is. The batch
// begins first: a socket that the kernel names must stay open until its end.
func (k *worker) poll() bool {
	k.w.Begin()
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(k.epfd), uintptr(unsafe.Pointer(&k.events[0])),
		maxEvents, 0, 0, 0)
	if k.ready = int(n); errno != 0 {
		k.ready = 0
	}
	if k.ready == 0 {
		k.w.End()
	}
	return k.ready > 0
}

func (k *worker) round(h Handler) {
	k.read, k.left = 0, k.ready == maxEvents
	defer func() {
		if v := recover(); v != nil {
			h.Recovered(v)
			k.left = true
			for i := range k.msgs {
				k.offer(i)
			}
		}
		k.used = 0
		k.w.End()
	}()
	for i := range k.events[:k.ready] {
		ev := &k.events[i]
		s := k.loop.sockets.load(ev.Fd)
		if s == nil {
			continue // removed since
		}
		if ev.Events&unix.EPOLLERR != 0 {
			k.readErrors(h, s, int(ev.Fd))
			k.left = true
		}
		if ev.Events&unix.EPOLLIN != 0 {
			k.receive(h, s, ev.Fd)
		}
	}
	h.Flush()
}

// receive takes what a socket has, as far as there are slots.
func (k *worker) receive(h Handler, s *Socket, fd int32) {
	want := rxRelay
	if s.listener {
		want = rxSlots
	}
	if rxSlots-k.used < min(want, rxRelay) {
		h.Flush()
		k.used = 0
	}
	slots := k.msgs[k.used:min(k.used+want, rxSlots)]
	n, errno := recvmmsg(fd, slots)
	if errno != 0 && errno != unix.EAGAIN {
		k.left = true
		n, errno = recvmmsg(fd, slots) // that was an ICMP error: reading told it
	}
	if errno != 0 {
		return
	}
	if n == len(slots) {
		k.left = true
	}
	first := k.used
	k.used += n
	k.read += n
	k.handle(h, s, first, n)
}

// handle hands n slots to the handler.
func (k *worker) handle(h Handler, s *Socket, first, n int) {
	packets, joined := n, 0
	for i := first; i < first+n; i++ {
		m := &k.msgs[i]
		b := k.buf[i*rxSlotSize : i*rxSlotSize+int(m.n)]
		to, seg := s.Addr.Addr(), 0
		if m.hdr.Controllen > 0 {
			c := parseControl(k.ctl[i*rxControl:][:m.hdr.Controllen])
			if c.to.IsValid() {
				to = c.to
			}
			if c.segment > 0 && c.segment < len(b) {
				seg = c.segment
				in := (len(b) + seg - 1) / seg
				joined += in
				packets += in - 1
			}
			if c.lost > 0 {
				k.countLost(s, c.lost)
			}
		}
		k.offer(i)
		// Clients are answered where they are; relays have no zones.
		h.Packet(s, parseSockaddr(&k.names[i], s.listener), to, b, seg)
	}
	c := &k.w.ctr
	c.readCalls.Add(1)
	c.readPackets.Add(uint64(packets))
	if joined > 0 {
		c.groPackets.Add(uint64(joined))
	}
}

// countLost turns the kernel's count of a socket's drops into ours.
func (k *worker) countLost(s *Socket, total uint32) {
	last := &s.fast.at(k.id).lost
	k.w.ctr.overflows.Add(uint64(total - *last))
	*last = total
}

// readErrors empties a socket's error queue (IP_RECVERR in ip(7)), where each ICMP
// error comes with the address of the datagram that it is about.
func (k *worker) readErrors(h Handler, s *Socket, fd int) {
	var oob [256]byte
	for range maxErrors {
		_, nn, _, to, err := unix.Recvmsg(fd, nil, oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		if e, ok := parseICMP(oob[:nn]); ok {
			if peer := fromSockaddr(to); peer.IsValid() {
				h.ICMP(s, netip.AddrPortFrom(peer.Addr().WithZone(""), peer.Port()), e)
			}
		}
	}
	unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) // which clears it
}

// parseICMP reads struct sock_extended_err:
//
//	errno(32) origin(8) type(8) code(8) pad(8) info(32) data(32)
func parseICMP(oob []byte) (ICMP, bool) {
	list, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return ICMP{}, false
	}
	for _, m := range list {
		four := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		six := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !four && !six || len(m.Data) < 16 {
			continue
		}
		origin := m.Data[4]
		if origin != unix.SO_EE_ORIGIN_ICMP && origin != unix.SO_EE_ORIGIN_ICMP6 {
			continue
		}
		e := ICMP{Type: m.Data[5], Code: m.Data[6]}
		if four && e.Type == 3 && e.Code == 4 || six && e.Type == 2 {
			e.Data = binary.NativeEndian.Uint32(m.Data[8:])
		}
		return e, true
	}
	return ICMP{}, false
}

// opener returns the worker that is to read a new socket of writer w: its own, so
// that both directions of an allocation meet in one batch, or the next in turn.
func (l *fastLoop) opener(w *fastWriter) *worker {
	if w.worker >= 0 {
		return l.workers[w.worker]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.workers[l.next%len(l.workers)]
}

// Open binds a relay socket.
func (w *fastWriter) Open(addr netip.AddrPort, tag any) (*Socket, error) {
	return w.loop.openRelay(addr, tag, w.loop.opener(w))
}
