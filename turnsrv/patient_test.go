package turnsrv

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/internal/testnet"
)

// scarce is a listener without descriptors while short is set: like accept(2), it fails
// at once and leaves the connection waiting. A closed reserve gives it one.
type scarce struct {
	net.Listener
	short *atomic.Bool
	err   error
	fails atomic.Int32
}

func (s *scarce) Accept() (net.Conn, error) {
	if s.short.Load() {
		s.fails.Add(1)
		return nil, &net.OpError{Op: "accept", Err: s.err}
	}
	return s.Listener.Accept()
}

// No error but the closing of the listener ends Accept; it neither spins meanwhile nor
// waits for long once things are well.
func TestPatientListener(t *testing.T) {
	for _, cause := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ECONNABORTED, syscall.ENOBUFS, errors.New("whatever")} {
		synctest.Test(t, func(t *testing.T) {
			n := testnet.New()
			ln, err := n.Listen(netip.MustParseAddrPort("11.22.33.1:3478"))
			if err != nil {
				t.Fatal(err)
			}
			var short atomic.Bool
			var told atomic.Int32
			short.Store(true)
			under := &scarce{Listener: ln, short: &short, err: cause}
			p := Patient(under, func(err error) {
				if !errors.Is(err, cause) {
					t.Errorf("told of %v", err)
				}
				told.Add(1)
			})
			got := make(chan error, 2)
			go func() {
				for {
					nc, err := p.Accept()
					got <- err
					if err != nil {
						return
					}
					nc.Close()
				}
			}()
			time.Sleep(time.Minute)
			if n := under.fails.Load(); n < 60 || n > 200 || told.Load() < n/3 {
				t.Errorf("%v: asked %d times in a minute, told %d times", cause, n, told.Load())
			}
			short.Store(false)
			nc, err := n.Dial(netip.MustParseAddrPort("11.22.33.2:0"), netip.MustParseAddrPort("11.22.33.1:3478"))
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := <-got; err != nil || time.Since(start) > longestPause {
				t.Errorf("%v: %v after %v", cause, err, time.Since(start))
			}
			nc.Close()
			short.Store(true)
			p.Close()
			if err := <-got; !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		})
	}
}
