package turnsrv

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/transport/v4/deadline"
)

// plainRecord is one of epoch 0; fragment is a handshake message's, or a whole one.
func plainRecord(kind byte, body ...byte) []byte {
	return append([]byte{kind, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

func fragment(kind byte, length, seq, from int, body ...byte) []byte {
	u24 := func(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }
	return slices.Concat([]byte{kind}, u24(length), []byte{byte(seq >> 8), byte(seq)}, u24(from), u24(len(body)), body)
}

// helloBody is a ClientHello with so many suites, and what follows the compression method.
func helloBody(session, cookie, suites int, rest ...byte) []byte {
	return slices.Concat([]byte{254, 253}, make([]byte, 32), []byte{byte(session)}, make([]byte, session),
		[]byte{byte(cookie)}, make([]byte, cookie), []byte{0, byte(suites)}, make([]byte, suites), []byte{1, 0}, rest)
}

func TestSoundRecords(t *testing.T) {
	hello := func(body []byte) []byte { return plainRecord(22, fragment(1, len(body), 0, 0, body...)...) }
	good := hello(helloBody(32, 20, 4, 0, 5, 0, 23, 0, 1, 9))
	changed := func(at int, to byte) []byte {
		b := slices.Clone(good)
		b[at] = to
		return b
	}
	half := helloBody(0, 0, 2)
	sealed := plainRecord(23, make([]byte, 40)...)
	sealed[4] = 1
	for name, c := range map[string]struct {
		b    []byte
		want bool
	}{
		"a ClientHello":                   {good, true},
		"one without extensions":          {hello(helloBody(0, 0, 2)), true},
		"its first half":                  {plainRecord(22, fragment(1, len(half), 0, 0, half[:20]...)...), true},
		"its second half":                 {plainRecord(22, fragment(1, len(half), 1, 20, half[20:]...)...), true},
		"of DTLS 1.0":                     {changed(2, 255), true},
		"key exchange, then sealed":       {slices.Concat(plainRecord(22, fragment(16, 33, 2, 0, make([]byte, 33)...)...), plainRecord(20, 1), sealed), true},
		"an alert":                        {plainRecord(21, 2, 40), true},
		"nothing":                         {nil, false},
		"half a header":                   {good[:12], false},
		"one byte too few":                {good[:len(good)-1], false},
		"one byte too many":               {append(slices.Clone(good), 0), false},
		"another protocol":                {changed(1, 3), false},
		"another version":                 {changed(2, 252), false},
		"of an unknown type":              {changed(0, 24), false},
		"of a later epoch":                {changed(4, 2), false},
		"of an epoch far away":            {changed(3, 1), false},
		"no body":                         {plainRecord(22), false},
		"data that is not sealed":         {plainRecord(23, 1, 2, 3), false},
		"two bytes of change_cipher_spec": {plainRecord(20, 1, 1), false},
		"an alert of no level":            {plainRecord(21, 3, 40), false},
		"a certificate":                   {plainRecord(22, fragment(11, 3, 0, 0, 0, 0, 0)...), false},
		"a message of nothing":            {plainRecord(22, fragment(1, 0, 0, 0)...), false},
		"a fragment of nothing":           {plainRecord(22, fragment(1, 50, 0, 0)...), false},
		"a fragment behind the end":       {plainRecord(22, fragment(1, 50, 0, 49, 1, 2)...), false},
		"a fragment of a huge message":    {plainRecord(22, fragment(1, maxHelloLength+1, 0, 0, 1)...), false},
		"a fragment of a late message":    {plainRecord(22, fragment(1, 50, maxMessageSeq+1, 0, 1)...), false},
		"a session of 33 bytes":           {hello(helloBody(33, 0, 2)), false},
		"a suite and a half":              {hello(helloBody(0, 0, 3)), false},
		"no suite":                        {hello(helloBody(0, 0, 0)), false},
		"a cookie that is too long":       {hello(append(helloBody(0, 0, 2)[:35], 255, 1)), false},
		"extensions that are too long":    {hello(helloBody(0, 0, 2, 0, 9, 0, 23, 0, 0)), false},
		"an extension that is too long":   {hello(helloBody(0, 0, 2, 0, 4, 0, 23, 0, 1)), false},
		"more behind the extensions":      {hello(helloBody(0, 0, 2, 0, 0, 7)), false},
	} {
		if got := soundRecords(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// FuzzSoundRecords: whatever comes is judged without a panic, and what is sound is so to its
// last byte.
func FuzzSoundRecords(f *testing.F) {
	body := helloBody(32, 20, 4, 0, 5, 0, 23, 0, 1, 9)
	f.Add(plainRecord(22, fragment(1, len(body), 0, 0, body...)...))
	f.Add(slices.Concat(plainRecord(22, fragment(16, 33, 2, 0, make([]byte, 33)...)...), plainRecord(20, 1)))
	f.Add(plainRecord(21, 2, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		sound := soundRecords(b)
		if !bytes.Equal(before, b) {
			t.Error("judging has changed it")
		}
		if sound && soundRecords(b[:len(b)-1]) {
			t.Errorf("%x is sound without its last byte", b)
		}
		if sound && !soundRecords(append(bytes.Clone(b), before...)) {
			t.Errorf("twice %x is not sound", b)
		}
	})
}

// datagrams is one end of an in-memory path, on which nothing gets lost.
type datagrams struct {
	net.Conn // nil: only what follows is used
	in       chan []byte
	out      chan []byte
	done     chan struct{}
	once     sync.Once
	read     *deadline.Deadline
	change   func([]byte) [][]byte // what leaves in place of a datagram
}

func (d *datagrams) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case x := <-d.in:
		return copy(b, x), d.RemoteAddr(), nil
	case <-d.done:
		return 0, nil, net.ErrClosed
	case <-d.read.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

func (d *datagrams) WriteTo(b []byte, _ net.Addr) (int, error) {
	all := [][]byte{b}
	if d.change != nil {
		all = d.change(bytes.Clone(b))
	}
	for _, x := range all {
		select {
		case d.out <- bytes.Clone(x):
		default: // full: lost
		}
	}
	return len(b), nil
}

func (d *datagrams) Close() error {
	d.once.Do(func() { close(d.done); d.read.Set(time.Time{}) })
	return nil
}

func (d *datagrams) SetDeadline(t time.Time) error     { return d.SetReadDeadline(t) }
func (d *datagrams) SetReadDeadline(t time.Time) error { d.read.Set(t); return nil }
func (d *datagrams) SetWriteDeadline(time.Time) error  { return nil }
func (d *datagrams) LocalAddr() net.Addr {
	return net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1"))
}
func (d *datagrams) RemoteAddr() net.Addr { return d.LocalAddr() }

// FuzzDTLS: a client whose datagrams are changed, or followed by others, does not bring down
// pion/dtls, whose goroutines nobody recovers: what soundRecords lets through it survives.
func FuzzDTLS(f *testing.F) {
	f.Add(byte(0), uint16(13), byte(0), []byte{})
	f.Add(byte(1), uint16(70), byte(255), plainRecord(21, 2, 40))
	f.Add(byte(2), uint16(20), byte(1), plainRecord(20, 1))
	f.Add(byte(2), uint16(100), byte(128), []byte{})
	_, pool := selfSigned()
	quiet := &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	config := testTLS()
	f.Fuzz(func(t *testing.T, which byte, at uint16, mask byte, more []byte) {
		up, down := make(chan []byte, 64), make(chan []byte, 64)
		client := &datagrams{in: down, out: up, done: make(chan struct{}), read: deadline.New()}
		server := &datagrams{in: up, out: down, done: make(chan struct{}), read: deadline.New()}
		n := byte(0)
		client.change = func(b []byte) (out [][]byte) {
			if n == which && len(b) > 0 {
				b[int(at)%len(b)] ^= mask
				out = append(out, more)
			}
			n++
			return slices.DeleteFunc(append(out, b), func(b []byte) bool { return !soundRecords(b) })
		}
		s, err := dtls.ServerWithOptions(server, server.RemoteAddr(), dtls.WithLoggerFactory(quiet),
			dtls.WithCertificates(config.Certificates...), dtls.WithFlightInterval(2*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		c, err := dtls.ClientWithOptions(client, client.RemoteAddr(), dtls.WithLoggerFactory(quiet),
			dtls.WithRootCAs(pool), dtls.WithServerName("localhost"), dtls.WithFlightInterval(2*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() { _ = s.HandshakeContext(ctx); _ = s.Close(); _ = server.Close() }) // how it ends is all the same
		both.Go(func() { _ = c.HandshakeContext(ctx); _ = c.Close(); _ = client.Close() })
		both.Wait()
	})
}
