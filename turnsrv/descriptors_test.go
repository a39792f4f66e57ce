//go:build linux

package turnsrv

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pion/stun/v3"
	"golang.org/x/sys/unix"

	"rtcd/turnsrv/relay"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// exhaust uses up all descriptors of the process; relief gives them back.
func exhaust(t *testing.T) (relief func()) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: min(512, before.Cur), Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	var filler []int
	for {
		fd, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EMFILE) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		filler = append(filler, fd)
	}
	for !reserve.fill() { // a listener had it open just then
		unix.Close(filler[len(filler)-1])
		filler = filler[:len(filler)-1]
	}
	done := false
	relief = func() {
		if done {
			return
		}
		done = true
		for _, fd := range filler {
			unix.Close(fd)
		}
		unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	}
	t.Cleanup(relief)
	return relief
}

// knock is a TCP connection that needs no new descriptor: hello connects it, says
// something, and reports how it ended.
type knock struct {
	t  *testing.T
	fd int
}

func newKnock(t *testing.T) knock {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	t.Cleanup(func() { unix.Close(fd) })
	return knock{t, fd}
}

func (k knock) wantTurnedAway(port int) {
	k.t.Helper()
	if err := unix.Connect(k.fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		k.t.Fatal(err)
	}
	if n, err := unix.Read(k.fd, make([]byte, 10)); n > 0 || errors.Is(err, unix.EAGAIN) {
		k.t.Errorf("left waiting: read %d, %v", n, err)
	}
}

// Without descriptors new connections are turned away at once, what is there goes on,
// and afterwards all is as before.
func TestDescriptorsRunOut(t *testing.T) {
	var log journal
	o := testOptions(everyListener("127.0.0.1")...)
	o.Logger = log.logger()
	s := serve(t, o)
	peer := echo(t, "127.0.0.1:0")
	var there []*client
	for _, tr := range transports {
		c := dial(t, s, tr)
		c.allocate(1)
		c.bind(0x4000, peer)
		there = append(there, c)
	}
	knocks := []knock{newKnock(t), newKnock(t), newKnock(t), newKnock(t)}
	start, relief := time.Now(), exhaust(t)
	for i, k := range knocks {
		k.wantTurnedAway(int(s.Addrs([]relay.Transport{relay.TCP, relay.TLS}[i%2])[0].Port()))
	}
	for range 100 {
		for _, c := range there {
			c.write(c.channelData(0x4000, []byte("still here")))
			c.wantChannelData(0x4000, []byte("still here"))
		}
	}
	relief()
	for _, c := range there {
		c.wantOK(c.request(stun.MethodRefresh))
	}
	for _, tr := range transports {
		dial(t, s, tr).allocate(1)
	}
	if n := metric(s, "accept_errors", ""); n == 0 {
		t.Error("nothing was counted")
	}
	if n, most := strings.Count(log.String(), "cannot accept a connection"), 1+int(time.Since(start)/samplePeriod); n < 1 || n > most {
		t.Errorf("%d lines, want one for ten seconds", n)
	}
}

// An HTTP server on a Patient listener lives through it as well.
func TestHTTPLivesWithoutDescriptors(t *testing.T) {
	ln, err := listenTCP(loopback)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + ln.Addr().String()
	srv := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(Patient(ln, func(error) {})) }()
	get := func() {
		r, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r.Body) // or else the connection is closed, some time
		r.Body.Close()
	}
	get() // now it waits for the next
	k := newKnock(t)
	relief := exhaust(t)
	k.wantTurnedAway(int(addrPort(ln.Addr()).Port()))
	relief()
	get()
	http.DefaultClient.CloseIdleConnections()
	srv.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

// Connections take at most half of the descriptors, so that relay sockets get theirs.
func TestConnectionsLeaveDescriptors(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &before)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 600, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	o, err := Options{}.withDefaults()
	if err != nil || o.Limits.Connections != 300 || o.Limits.AllPerIP != 37 {
		t.Errorf("%+v, %v", o.Limits, err)
	}
}

// A peer of an accepted connection that acknowledges nothing for 20 s is given up, but not
// for a question or two that got lost.
func TestAcceptedConnectionsGiveDeadPeersUp(t *testing.T) {
	ln, err := listenTCP(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialAt(t, addrPort(ln.Addr()), relay.TCP)
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	wantDeadPeersGivenUp(t, nc.(*net.TCPConn))
}

func wantDeadPeersGivenUp(t *testing.T, nc *net.TCPConn) {
	t.Helper()
	raw, err := nc.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		get := func(option int) int {
			n, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option)
			if err != nil {
				t.Error(err)
			}
			return n
		}
		ms, idle, interval := get(unix.TCP_USER_TIMEOUT), get(unix.TCP_KEEPIDLE), get(unix.TCP_KEEPINTVL)
		if ms != 20_000 {
			t.Errorf("TCP_USER_TIMEOUT is %d ms", ms)
		}
		if questions := (ms/1000 - idle) / interval; questions < 4 {
			t.Errorf("asked after %d s and then every %d s: %d questions before it is given up, want 4 at least", idle, interval, questions)
		}
	})
}
