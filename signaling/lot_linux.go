package signaling

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const lotWorks = true

// lot is where idle sockets wait without a goroutine, which would be half of what such
// a session costs. One epoll watches them all, and the netpoller watches that; when there
// is something to read from a socket, its run goes on on a new goroutine. Of those who
// would wake a socket, the one that takes it out of the lot does.
//
// The zero lot is open.
type lot struct {
	mu     sync.Mutex // guards the following, and places of sockets
	ep     *os.File   // nil until the first socket comes
	epfd   int
	last   uint64             // place that was given
	parked map[uint64]*socket // by place
	closed bool
	done   chan struct{} // when nobody watches any more
}

// park takes c in. It reports false if c is closing or can not be watched; else c belongs
// to whom wakes it.
func (l *lot) park(c *socket) bool {
	raw, err := descriptor(c.wire.Conn).SyscallConn()
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || c.wire.closing.Load() || l.ep == nil && l.openLocked(c.hub) != nil {
		return false
	}
	l.last++
	ev := unix.EpollEvent{
		Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT,
		Fd:     int32(l.last), Pad: int32(l.last >> 32),
	}
	var fault error
	err = raw.Control(func(fd uintptr) {
		op := unix.EPOLL_CTL_MOD
		if c.place == 0 {
			op = unix.EPOLL_CTL_ADD
		}
		fault = unix.EpollCtl(l.epfd, op, int(fd), &ev)
	})
	if err != nil || fault != nil {
		return false
	}
	c.place = l.last
	l.parked[l.last] = c
	return true
}

// wake lets c go on if it is parked.
func (l *lot) wake(c *socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parked[c.place] == c {
		l.leaveLocked(c)
	}
}

func (l *lot) leaveLocked(c *socket) {
	delete(l.parked, c.place)
	// Owned like the goroutine that parked it.
	go c.run()
}

func (l *lot) openLocked(h *Hub) error {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	unix.SetNonblock(fd, true) // os.NewFile puts such descriptors into the netpoller
	l.ep, l.epfd = os.NewFile(uintptr(fd), "idle sockets"), fd
	l.parked = map[uint64]*socket{}
	l.done = make(chan struct{})
	// Owned by the lot; close ends it and waits for it.
	go l.watch(h, l.ep)
	return nil
}

// giveUp lets all go on who are parked; nobody parks any more.
func (l *lot) giveUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.parked {
		l.leaveLocked(c)
	}
}

// watch wakes the sockets that have something to read. A panic ends the lot, not its sockets.
func (l *lot) watch(h *Hub, ep *os.File) {
	defer close(l.done)
	defer h.Guard(l.giveUp)
	conn, err := ep.SyscallConn()
	if err != nil {
		return
	}
	events := make([]unix.EpollEvent, 128)
	// Ends when close closes ep.
	conn.Read(func(fd uintptr) bool {
		for {
			n, err := unix.EpollWait(int(fd), events, 0)
			if n <= 0 && err != unix.EINTR {
				return false
			}
			l.wakeAll(events[:max(n, 0)])
		}
	})
}

func (l *lot) wakeAll(ready []unix.EpollEvent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ev := range ready {
		if c := l.parked[uint64(uint32(ev.Fd))|uint64(ev.Pad)<<32]; c != nil {
			l.leaveLocked(c)
		}
	}
}

// close ends the lot. Nobody is parked any more.
func (l *lot) close() {
	l.mu.Lock()
	l.closed = true
	ep := l.ep
	l.mu.Unlock()
	if ep != nil {
		ep.Close()
		<-l.done
	}
}
