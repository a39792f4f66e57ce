package udp

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// fastLoop reads its sockets with one worker per core. A worker parks in Go's
// netpoller, which watches the worker's epoll, which watches its sockets: so no
// socket costs a goroutine, and no worker a thread while it waits.
type fastLoop struct {
	opt     Options
	workers []*worker
	features
	sockets fdTable

	// epoch counts removals. A writer notes it when its batch begins; what was
	// removed later than the oldest of these notes may still be in a batch.
	epoch    atomic.Uint64
	retiring atomic.Int32 // len(retired)

	mu      sync.Mutex // guards all below
	writers []*fastWriter
	retired []retired
	next    int // worker that gets the next socket of a writer without one
	running bool
	closed  bool
}

// retired is a socket that is unlinked and waits to be closed.
type retired struct {
	s     *Socket
	epoch uint64
}

// fastSocket is what the loop keeps in a Socket. It is small: there is one for
// each allocation.
type fastSocket struct {
	one     [1]descriptor // a relay socket's
	group   *[]descriptor // a listener's, one for each worker
	home    int32         // the worker whose epoll has the first
	removed atomic.Bool
}

type descriptor struct {
	fd   int32
	lost uint32 // the kernel's count of datagrams dropped, last seen
}

// all returns the descriptors. Number i is in the epoll of worker home+i.
func (f *fastSocket) all() []descriptor {
	if f.group != nil {
		return *f.group
	}
	return f.one[:]
}

// at returns the descriptor that a worker uses.
func (f *fastSocket) at(worker int) *descriptor {
	list := f.all()
	return &list[worker%len(list)]
}

func newFast(o Options) (Loop, error) {
	l := &fastLoop{opt: o}
	l.epoch.Store(1)
	l.features.init(o)
	for i := range o.Workers {
		k, err := newWorker(l, i)
		if err != nil {
			l.Close()
			return nil, err
		}
		l.workers = append(l.workers, k)
	}
	return l, nil
}

// Listen binds a descriptor per worker. The first is bound without SO_REUSEPORT,
// which would admit another process of ours to the same port unnoticed.
func (l *fastLoop) Listen(addr netip.AddrPort, tag any) (*Socket, error) {
	s := &Socket{Addr: addr, Tag: tag, listener: true, wildcard: addr.Addr().IsUnspecified()}
	var list []descriptor
	for i := range l.workers {
		fd, err := l.bindListener(s, i > 0)
		if err != nil {
			closeAll(list)
			return nil, fmt.Errorf("udp %v: %w", addr, err)
		}
		list = append(list, descriptor{fd: fd})
	}
	s.fast.group = &list
	return l.add(s)
}

func (l *fastLoop) bindListener(s *Socket, reuse bool) (int32, error) {
	fd, err := newSocket(s.Addr.Addr())
	if err != nil {
		return -1, err
	}
	if reuse {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil {
		err = bind(fd, s.Addr)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil && s.Addr.Port() == 0 {
		s.Addr, err = boundAddr(fd)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	l.setListenerOptions(fd, s)
	return int32(fd), nil
}

// openRelay binds the socket of a relayed address to one worker.
func (l *fastLoop) openRelay(addr netip.AddrPort, tag any, k *worker) (*Socket, error) {
	fd, err := newSocket(addr.Addr())
	if err != nil {
		return nil, fmt.Errorf("udp %v: %w", addr, err)
	}
	s := &Socket{Addr: addr, Tag: tag, wildcard: addr.Addr().IsUnspecified()}
	if err = bind(fd, addr); err == nil && addr.Port() == 0 {
		s.Addr, err = boundAddr(fd)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("udp %v: %w", addr, err)
	}
	l.setRelayOptions(fd, s)
	s.fast.one[0].fd, s.fast.home = int32(fd), int32(k.id)
	return l.add(s)
}

// add links a socket: from now on it is read.
func (l *fastLoop) add(s *Socket) (*Socket, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		closeAll(s.fast.all())
		return nil, fmt.Errorf("udp %v: %w", s.Addr, ErrClosed)
	}
	for _, d := range s.fast.all() {
		l.sockets.setLocked(d.fd, s)
	}
	for i, d := range s.fast.all() {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: d.fd}
		if err := unix.EpollCtl(l.epoll(s, i), unix.EPOLL_CTL_ADD, int(d.fd), &ev); err != nil {
			for _, d := range s.fast.all() {
				l.sockets.setLocked(d.fd, nil)
			}
			closeAll(s.fast.all()) // which takes them out of every epoll
			return nil, fmt.Errorf("udp %v: epoll: %w", s.Addr, err)
		}
	}
	return s, nil
}

// epoll returns the one that watches descriptor i of a socket.
func (l *fastLoop) epoll(s *Socket, i int) int { return l.workers[int(s.fast.home)+i].epfd }

// Remove unlinks a socket; the last batch that may hold it closes it.
func (l *fastLoop) Remove(s *Socket) {
	if s.fast.removed.Swap(true) {
		return
	}
	l.mu.Lock()
	if l.closed { // its descriptors are gone
		l.mu.Unlock()
		return
	}
	for i, d := range s.fast.all() {
		l.sockets.setLocked(d.fd, nil)
		unix.EpollCtl(l.epoll(s, i), unix.EPOLL_CTL_DEL, int(d.fd), nil)
	}
	l.retired = append(l.retired, retired{s, l.epoch.Add(1)})
	l.retiring.Store(int32(len(l.retired)))
	l.mu.Unlock()
	l.reclaim()
}

// reclaim closes what no batch can hold any more.
func (l *fastLoop) reclaim() {
	l.mu.Lock()
	defer l.mu.Unlock()
	oldest := ^uint64(0)
	for _, w := range l.writers {
		if since := w.since.Load(); since != 0 {
			oldest = min(oldest, since)
		}
	}
	kept := l.retired[:0]
	for _, r := range l.retired {
		if r.epoch <= oldest {
			closeAll(r.s.fast.all())
		} else {
			kept = append(kept, r)
		}
	}
	clear(l.retired[len(kept):])
	l.retired = kept
	l.retiring.Store(int32(len(kept)))
}

// Run runs the workers until ctx is done.
func (l *fastLoop) Run(ctx context.Context, newHandler func(Writer) Handler) error {
	l.mu.Lock()
	if l.closed || l.running {
		l.mu.Unlock()
		return ErrClosed
	}
	l.running = true
	l.mu.Unlock()
	var tasks sync.WaitGroup
	errs := make(chan error, len(l.workers))
	for _, k := range l.workers {
		h := newHandler(k.w)
		// Run owns the worker; the closing of its epoll ends it.
		tasks.Go(func() { errs <- k.run(h) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-errs:
	}
	for _, k := range l.workers {
		k.ep.Close()
	}
	tasks.Wait()
	l.Close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// Close closes every socket. No worker runs any more.
func (l *fastLoop) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	for _, k := range l.workers {
		k.close()
	}
	for _, s := range l.sockets.allLocked() {
		if !s.fast.removed.Load() {
			closeAll(s.fast.all())
		}
	}
	for _, r := range l.retired {
		closeAll(r.s.fast.all())
	}
	l.retired = nil
}

func (l *fastLoop) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	var s Stats
	for _, w := range l.writers {
		w.ctr.addTo(&s)
	}
	return s
}

func closeAll(list []descriptor) {
	for _, d := range list {
		unix.Close(int(d.fd))
	}
}

// fdTable finds the socket of a descriptor, without a lock.
type fdTable struct {
	list atomic.Pointer[[]atomic.Pointer[Socket]]
}

func (t *fdTable) load(fd int32) *Socket {
	list := t.list.Load()
	if list == nil || int(fd) >= len(*list) {
		return nil
	}
	return (*list)[fd].Load()
}

// setLocked needs the loop's lock.
func (t *fdTable) setLocked(fd int32, s *Socket) {
	list := t.list.Load()
	if list == nil || int(fd) >= len(*list) {
		grown := make([]atomic.Pointer[Socket], max(1024, 2*(int(fd)+1)))
		if list != nil {
			for i := range *list {
				grown[i].Store((*list)[i].Load())
			}
		}
		t.list.Store(&grown)
		list = &grown
	}
	(*list)[fd].Store(s)
}

// allLocked returns each socket once.
func (t *fdTable) allLocked() []*Socket {
	list := t.list.Load()
	if list == nil {
		return nil
	}
	var out []*Socket
	for i := range *list {
		if s := (*list)[i].Load(); s != nil && s.fast.all()[0].fd == int32(i) {
			out = append(out, s)
		}
	}
	return out
}
