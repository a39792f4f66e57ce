package turnsrv

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/stun/v3"

	"rtcd/turnsrv/relay"
)

// panickyKeys panics for one user name; a stand-in for any fault in deciding.
type panickyKeys struct {
	userKeys
	name string
}

func (k panickyKeys) Lookup(name string, unix int64) relay.Login {
	if name == k.name {
		panic("planted")
	}
	return k.userKeys.Lookup(name, unix)
}

// wantPanics checks the counter, and takes it back for serve, which wants none.
func wantPanics(t *testing.T, s *Server, what string, want uint64) {
	t.Helper()
	eventually(t, what+": the panic is counted", func() bool { return s.panics.Load() >= want })
	if n := s.panics.Swap(0); n != want {
		t.Errorf("%s: %d panics counted, want %d", what, n, want)
	}
}

// A panic while a client's request is decided costs that request over UDP and that
// connection elsewhere; everybody else's allocation goes on.
func TestPanicInARequest(t *testing.T) {
	for _, plain := range []bool{false, true} {
		o := testOptions(everyListener("127.0.0.1")...)
		o.UDP.Plain = plain
		o.Keys = panickyKeys{userKeys{testUser: testPass}, "1999999999:mallory"}
		s := serve(t, o)
		peer := echo(t, "127.0.0.1:0")
		var ended uint64
		for _, tr := range transports {
			good, bad := dial(t, s, tr), dial(t, s, tr)
			good.allocate(1)
			good.bind(0x4000, peer)
			challenge := bad.roundTrip(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest)))
			bad.user, bad.nonce = "1999999999:mallory", string(attr(challenge, stun.AttrNonce))
			bad.write(stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest),
				raw(stun.AttrRequestedTransport, 17, 0, 0, 0), stun.NewUsername(bad.user), stun.NewRealm(testRealm),
				stun.NewNonce(bad.nonce), stun.NewLongTermIntegrity(bad.user, testRealm, "x"), stun.Fingerprint).Raw)
			wantPanics(t, s, tr.String(), 1)
			if tr.Stream() {
				bad.wantEnd()
			}
			if ended++; tr == relay.UDP {
				ended = 0
			}
			eventually(t, "the connection has ended", func() bool {
				return metric(s, "connections_ended", "panic") == ended && (tr == relay.UDP || s.Connections()[tr] == 1)
			})
			good.write(good.channelData(0x4000, []byte("still here")))
			good.wantChannelData(0x4000, []byte("still here"))
			good.wantOK(good.request(stun.MethodRefresh))
		}
	}
}

// faultyConn panics where it is told to.
type faultyConn struct {
	net.Conn
	onWrite, onAddr *atomic.Bool
}

func (c faultyConn) Write(b []byte) (int, error) {
	if c.onWrite.Load() {
		panic("planted")
	}
	return c.Conn.Write(b)
}

func (c faultyConn) RemoteAddr() net.Addr {
	if c.onAddr.Load() {
		panic("planted")
	}
	return c.Conn.RemoteAddr()
}

type faultyListener struct {
	net.Listener
	onWrite, onAddr *atomic.Bool
}

func (l faultyListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return faultyConn{nc, l.onWrite, l.onAddr}, nil
}

// A panic in a connection's writer ends that connection, and one while a connection is
// taken in ends that; the listener goes on.
func TestPanicInAConnection(t *testing.T) {
	var onWrite, onAddr atomic.Bool
	o := testOptions(Listener{Transport: relay.TCP, Addr: "127.0.0.1:0"})
	o.Listen = func(a netip.AddrPort) (net.Listener, error) {
		ln, err := listenTCP(a)
		return faultyListener{ln, &onWrite, &onAddr}, err
	}
	s := serve(t, o)
	good, bad := dial(t, s, relay.TCP), dial(t, s, relay.TCP)
	good.allocate(1)
	bad.allocate(1)
	onWrite.Store(true)
	bad.write(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
	bad.wantEnd()
	onWrite.Store(false)
	wantPanics(t, s, "writer", 1)
	eventually(t, "its allocation ended, the other did not", func() bool { return s.Len() == 1 })

	onAddr.Store(true)
	dial(t, s, relay.TCP).wantEnd()
	onAddr.Store(false)
	wantPanics(t, s, "accept", 1)
	good.wantOK(good.request(stun.MethodRefresh))
	dial(t, s, relay.TCP).allocate(1)
}

// A panic in the choice of a certificate ends that handshake, on DTLS too, which has
// goroutines that are not ours.
func TestPanicInAHandshake(t *testing.T) {
	var boom atomic.Bool
	config := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if boom.Load() {
			panic("planted")
		}
		cert, _ := selfSigned()
		return &cert, nil
	}}
	s := serve(t, testOptions(
		Listener{Transport: relay.TLS, Addr: "127.0.0.1:0", TLS: config},
		Listener{Transport: relay.DTLS, Addr: "127.0.0.1:0", TLS: config}))
	for _, tr := range []relay.Transport{relay.TLS, relay.DTLS} {
		boom.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		done := make(chan error, 1)
		go func() { done <- handshake(ctx, s.Addrs(tr)[0], tr) }()
		eventually(t, "counted", func() bool { return s.panics.Load() > 0 })
		cancel()
		if <-done == nil {
			t.Errorf("%v: a handshake without a certificate was done", tr)
		}
		boom.Store(false)
		dial(t, s, tr).allocate(1)
		s.panics.Store(0)
	}
}

// handshake does that of TLS or DTLS and hangs up.
func handshake(ctx context.Context, to netip.AddrPort, tr relay.Transport) error {
	if tr == relay.TLS {
		d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
		nc, err := d.DialContext(ctx, "tcp", to.String())
		if err == nil {
			nc.Close()
		}
		return err
	}
	nc, err := dialDTLS(to)
	if err != nil {
		return err
	}
	defer nc.Close()
	return nc.(*dtls.Conn).HandshakeContext(ctx)
}

// A panic in a batch that was to open a socket gives back what the allocation had
// taken: nothing of it is left, and the user's quota is whole.
func TestPanicLosesNoPort(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.overTCP()
		c.allocate(1)
		synctest.Wait() // the event of it is told
		r := w.srv.takeRound()
		events := len(w.ev.list)
		other := relay.Client{Addr: netip.AddrPortFrom(fakeClient, 5), Local: fakeServer, Transport: relay.UDP}
		ask := func(list ...stun.Setter) *stun.Message {
			return stun.MustBuild(append([]stun.Setter{
				stun.TransactionID, stun.NewType(stun.MethodAllocate, stun.ClassRequest),
				raw(stun.AttrRequestedTransport, 17, 0, 0, 0),
			}, list...)...)
		}
		w.srv.table.HandleClient(r.time(), &other, ask().Raw, 0, &r.batch)
		challenge := &stun.Message{Raw: r.batch.Sends[0].Head}
		if err := challenge.Decode(); err != nil {
			t.Fatal(err)
		}
		nonce := string(attr(challenge, stun.AttrNonce))
		w.srv.table.HandleClient(r.time(), &other, ask(stun.NewUsername(testUser), stun.NewRealm(testRealm), stun.NewNonce(nonce),
			stun.NewLongTermIntegrity(testUser, testRealm, testPass)).Raw, 0, &r.batch)
		if len(r.batch.Opens) != 1 || w.srv.Len() != 2 {
			t.Fatalf("%d sockets to open, %d allocations", len(r.batch.Opens), w.srv.Len())
		}
		r.Recovered("planted")
		w.srv.putRound(r)
		synctest.Wait()
		if w.srv.Len() != 1 || len(w.ev.list) != events {
			t.Errorf("%d allocations, want 1; %d events, want %d", w.srv.Len(), len(w.ev.list), events)
		}
		w.srv.panics.Store(0)
	})
}

// A callback that panics at one event is told the next.
func TestPanicLosesNoEvent(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		var told []relay.EventKind
		w.srv.opt.OnEvent = func(e relay.Event) {
			told = append(told, e.Kind)
			panic("planted")
		}
		w.srv.do(func(r *round) {
			r.batch.Events = append(r.batch.Events, relay.Event{Kind: relay.Refreshed}, relay.Event{Kind: relay.Closed})
		})
		w.srv.opt.OnEvent = nil
		if len(told) != 2 || told[1] != relay.Closed || w.srv.panics.Swap(0) != 2 {
			t.Errorf("told %v", told)
		}
	})
}
