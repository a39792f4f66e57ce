package udp

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lull makes a worker's wait last for a pause instead of until the next datagram.
// It is an epoll around the worker's own and a timer, for the netpoller to watch: so
// that a pause holds no thread, and a goroutine only the worker's. (The runtime's
// timers are good for a millisecond; and a thread that sleeps in a system call costs
// the runtime a hand-over each time.)
type lull struct {
	fd    int // the epoll around both
	timer int
	epfd  int // the worker's
	on    bool
}

func newLull(epfd int) (*lull, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	l := &lull{fd: fd, timer: timer, epfd: epfd}
	for _, watched := range []int{epfd, timer} {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(watched)}
		if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, watched, &ev); err != nil {
			unix.Close(fd)
			unix.Close(timer)
			return nil, os.NewSyscallError("epoll_ctl", err)
		}
	}
	return l, nil
}

// begin makes the next wait last for d; datagrams do not end it. It reports false if
// there is no such wait, and the worker must look for datagrams.
func (l *lull) begin(d time.Duration) bool {
	if !l.on {
		l.watch(0)
	}
	l.on = true
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}
	if unix.TimerfdSettime(l.timer, 0, &spec, nil) != nil {
		l.end()
	}
	return l.on
}

// end lets datagrams end the next wait again, and reports whether they could not
// before. Then the worker must look first: the kernel does not tell of those that are
// there already while it has the worker's epoll on its list of what was ready.
func (l *lull) end() bool {
	if !l.on {
		return false
	}
	l.on = false
	l.watch(unix.EPOLLIN)
	return true
}

// close closes all but fd, which belongs to the netpoller.
func (l *lull) close() {
	unix.Close(l.epfd)
	unix.Close(l.timer)
}

func (l *lull) watch(events uint32) {
	ev := unix.EpollEvent{Events: events, Fd: int32(l.epfd)}
	unix.EpollCtl(l.fd, unix.EPOLL_CTL_MOD, l.epfd, &ev)
}
