package udp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain fails when goroutines of this package outlive the tests.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 200 {
		buf := make([]byte, 1<<20)
		if !strings.Contains(string(buf[:runtime.Stack(buf, true)]), "rtcd/turnsrv/udp.(*") {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintln(os.Stderr, "goroutines left behind")
	os.Exit(1)
}

// packet is one datagram that arrived.
type packet struct {
	from netip.AddrPort
	to   netip.Addr
	b    string
}

// desk is a handler that notes what comes and, if told to, sends it back.
type desk struct {
	w     Writer
	echo  bool
	mu    *sync.Mutex // guards what the desks of a loop share
	got   *[]packet
	icmp  *[]ICMP
	seen  *int // handlers that saw a packet
	fresh bool
	panic bool
}

func (d *desk) Packet(s *Socket, from netip.AddrPort, to netip.Addr, b []byte, seg int) {
	if d.panic && string(b) == "panic" {
		panic("as asked")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.fresh {
		d.fresh = true
		*d.seen++
	}
	if seg == 0 {
		seg = max(len(b), 1)
	}
	for first := true; first || len(b) > 0; first = false {
		n := min(seg, len(b))
		*d.got = append(*d.got, packet{from, to, string(b[:n])})
		if d.echo {
			d.w.Send(s, Message{To: from, From: to, Body: b[:n]})
		}
		b = b[n:]
	}
}

func (d *desk) ICMP(_ *Socket, _ netip.AddrPort, e ICMP) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*d.icmp = append(*d.icmp, e)
}

func (d *desk) Flush()        { d.w.Flush() }
func (d *desk) Recovered(any) {}

// running is a loop that runs until the test ends.
type running struct {
	Loop
	t    testing.TB
	echo bool
	mu   sync.Mutex
	got  []packet
	icmp []ICMP
	seen int
}

func run(t testing.TB, o Options, echo bool) *running {
	t.Helper()
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Loop: l, t: t, echo: echo}
	startLoop(t, r)
	return r
}

// startLoop runs a loop until the test ends.
func startLoop(t testing.TB, r *running) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.Run(ctx, func(w Writer) Handler {
			return &desk{w: w, echo: r.echo, mu: &r.mu, got: &r.got, icmp: &r.icmp, seen: &r.seen, panic: true}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func (r *running) listen(addr string) *Socket {
	r.t.Helper()
	s, err := r.Listen(netip.MustParseAddrPort(addr), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// want waits for n datagrams and returns them.
func (r *running) want(n int) []packet {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		r.mu.Lock()
		got := slices.Clone(r.got)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(end) {
			r.t.Fatalf("%d datagrams in a minute, want %d", len(got), n)
		}
	}
}

// loops are the options that the tests run with.
var loops = map[string]Options{
	"plain":    {Plain: true},
	"fast":     {},
	"one":      {Workers: 1},
	"no GRO":   {NoGRO: true},
	"no GSO":   {NoGSO: true},
	"no joins": {NoGRO: true, NoGSO: true},
	"pausing":  {Coalesce: MaxCoalesce},
}

func eachLoop(t *testing.T, f func(t *testing.T, o Options)) {
	for name, o := range loops {
		t.Run(name, func(t *testing.T) { f(t, o) })
	}
}

func dialUDP(t testing.TB, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What a socket gets comes to the handler, of any size and family, and what the
// handler sends comes back.
func TestEcho(t *testing.T) {
	eachLoop(t, func(t *testing.T, o Options) {
		r := run(t, o, true)
		for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
			c := dialUDP(t, r.listen(addr).Addr)
			buf := make([]byte, 1<<16)
			for _, n := range []int{1, 0, 100, 1472, 9000, 65487} {
				data := bytes.Repeat([]byte{byte(n)}, n)
				if _, err := c.Write(data); err != nil {
					t.Fatal(err)
				}
				c.SetReadDeadline(time.Now().Add(time.Minute))
				m, err := c.Read(buf)
				if err != nil || !bytes.Equal(buf[:m], data) {
					t.Fatalf("%d bytes to %v: %d came back, %v", n, addr, m, err)
				}
			}
		}
	})
}

// Whatever comes is answered, however it falls into the moments in which a worker
// goes to sleep: each client waits for its answer before it asks again.
func TestNoWakeIsLost(t *testing.T) {
	eachLoop(t, func(t *testing.T, o Options) {
		r := run(t, o, true)
		to := r.listen("127.0.0.1:0").Addr
		var clients sync.WaitGroup
		for i := range 8 {
			c := dialUDP(t, to)
			clients.Go(func() {
				ask, buf := []byte{byte(i)}, make([]byte, 10)
				for range 300 {
					c.Write(ask)
					c.SetReadDeadline(time.Now().Add(time.Minute))
					if n, err := c.Read(buf); n != 1 || err != nil {
						t.Errorf("client %d: no answer: %v", i, err)
						return
					}
				}
			})
		}
		clients.Wait()
	})
}

// A worker pauses under moderate load, not when it idles and not in a flood.
func TestPacer(t *testing.T) {
	for _, c := range []struct {
		name  string
		n     int           // datagrams of each round
		every time.Duration // from round to round
		want  bool
	}{
		{"50,000 packets/s, one by one", 1, 20 * time.Microsecond, true},
		{"50,000 packets/s in pauses", 10, 200 * time.Microsecond, true},
		{"1,000 packets/s", 1, time.Millisecond, false},
		{"50 packets/s in bursts", 5, 100 * time.Millisecond, false},
		{"a flood", 50, 20 * time.Microsecond, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := pacer{pause: MaxCoalesce}
			off := pacer{}
			for i := range 1000 {
				time.Sleep(c.every)
				if off.rests(c.n) {
					t.Fatal("it pauses though that is off")
				}
				if got := p.rests(c.n); got != c.want && i > 500 {
					t.Fatalf("%s: pauses: %v", c.name, got)
				}
			}
		})
	}
}

// Options.Coalesce has a limit.
func TestCoalesceIsBounded(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{-1: 0, 0: 0, 50e3: 50e3, time.Second: MaxCoalesce} {
		if got := (Options{Coalesce: in}).withDefaults().Coalesce; got != want {
			t.Errorf("%v becomes %v, want %v", in, got, want)
		}
	}
}

// The same random messages leave every loop as the same datagrams, in order: heads,
// bodies and padding of all sizes, in runs that may be joined and in runs that may
// not.
func TestEveryLoopSendsTheSame(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type sent struct {
		socket, to, head, body int
		pad                    uint8
		df                     bool
	}
	var plan []sent
	for len(plan) < 600 {
		s := sent{
			socket: random.IntN(2), to: random.IntN(2), head: 4 * random.IntN(3), body: random.IntN(1400),
			pad: uint8(random.IntN(4)), df: random.IntN(50) == 0,
		}
		for range 1 + random.IntN(70) {
			plan = append(plan, s)
			if random.IntN(9) == 0 {
				s.body = random.IntN(1 + s.body)
			}
		}
	}
	memory := make([]byte, 1<<16)
	for i := range memory {
		memory[i] = byte(random.Uint32())
	}
	eachLoop(t, func(t *testing.T, o Options) {
		sinks := []*running{run(t, Options{Workers: 1}, false), run(t, Options{Plain: true}, false)}
		to := []*Socket{sinks[0].listen("127.0.0.1:0"), sinks[1].listen("127.0.0.1:0")}
		r := run(t, o, false)
		w := r.Writer()
		var from []*Socket
		for range 2 {
			s, err := w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
			if err != nil {
				t.Fatal(err)
			}
			from = append(from, s)
		}
		want := map[[2]int][]string{} // by socket and destination
		for rest := plan; len(rest) > 0; {
			w.Begin()
			n := min(len(rest), 1+random.IntN(150))
			for i, s := range rest[:n] {
				head, body := memory[i:][:s.head], memory[2*i:][:s.body]
				w.Send(from[s.socket], Message{
					To: to[s.to].Addr, Head: head, Body: body, Pad: s.pad, DontFragment: s.df,
				})
				b := string(head) + string(body) + string(zeros[:s.pad])
				want[[2]int{s.socket, s.to}] = append(want[[2]int{s.socket, s.to}], b)
			}
			w.Flush()
			w.End()
			rest = rest[n:]
			time.Sleep(time.Millisecond) // the sinks' buffers are finite
		}
		for k, list := range want {
			sink := sinks[k[1]]
			total := len(want[[2]int{0, k[1]}]) + len(want[[2]int{1, k[1]}])
			var got []string
			for _, p := range sink.want(total) {
				if p.from == from[k[0]].Addr {
					got = append(got, p.b)
				}
			}
			// Datagrams with the DF bit may overtake those before them: compare as sets.
			slices.Sort(got)
			slices.Sort(list)
			if !slices.Equal(got, list) {
				t.Errorf("socket %d to %d: what came is not what was sent", k[0], k[1])
			}
		}
	})
}

// A wildcard socket knows which address was asked and answers from it.
func TestWildcard(t *testing.T) {
	eachLoop(t, func(t *testing.T, o Options) {
		r := run(t, o, true)
		port := r.listen("0.0.0.0:0").Addr.Port()
		c := dialUDP(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), port))
		c.Write([]byte("hello"))
		c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.Read(make([]byte, 10)); err != nil {
			t.Fatalf("no answer from the address that was asked: %v", err)
		}
		if p := r.want(1)[0]; p.to.String() != "127.0.0.9" {
			t.Errorf("to %v", p.to)
		}
	})
}

func TestTaken(t *testing.T) {
	eachLoop(t, func(t *testing.T, o Options) {
		a, b := run(t, o, false), run(t, o, false)
		addr := a.listen("127.0.0.1:0").Addr
		if _, err := b.Listen(addr, nil); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), addr.String()) {
			t.Errorf("Listen: %v", err)
		}
		if _, err := b.Writer().Open(addr, nil); !errors.Is(err, ErrTaken) {
			t.Errorf("Open: %v", err)
		}
	})
}

// A removed socket's port is free again once no batch holds it, and a loop that has
// ended opens nothing.
func TestRemove(t *testing.T) {
	eachLoop(t, func(t *testing.T, o Options) {
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		w := l.Writer()
		s, err := w.Open(netip.MustParseAddrPort("127.0.0.1:0"), nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Remove(s)
		l.Remove(s)
		if s, err = w.Open(s.Addr, nil); err != nil {
			t.Errorf("again: %v", err)
		}
		l.Close()
		l.Remove(s)
		if _, err := w.Open(s.Addr, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := l.Listen(s.Addr, nil); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// A panicking handler loses its batch and nothing else.
func TestPanic(t *testing.T) {
	eachLoop(t, func(t *testing.T, o Options) {
		r := run(t, o, true)
		c := dialUDP(t, r.listen("127.0.0.1:0").Addr)
		for _, b := range []string{"panic", "hello"} {
			c.Write([]byte(b))
			time.Sleep(time.Millisecond)
		}
		for end := time.Now().Add(time.Minute); ; {
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if n, _ := c.Read(make([]byte, 10)); n == 5 {
				return
			}
			if time.Now().After(end) {
				t.Fatal("no answer after a panic")
			}
			c.Write([]byte("hello"))
		}
	})
}
