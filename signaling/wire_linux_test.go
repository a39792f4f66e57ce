package signaling

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"rtcd/internal/rawtcp"
)

// tcpPair is a wire over TCP, as the hub has it, and its far side.
func tcpPair(t *testing.T) (*wire, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	w := &wire{Conn: rawtcp.Wrap(near), timeout: 10 * time.Second}
	w.try = w.Conn.(rawtcp.Trier)
	return w, far
}

// TestWhatDoesNotFitIsSentFirst fills a connection whose far side reads nothing, and then
// writes on in every way: all bytes arrive, in the order in which they were given.
func TestWhatDoesNotFitIsSentFirst(t *testing.T) {
	w, far := tcpPair(t)
	var want []byte
	part := func(n int) []byte {
		p := bytes.Repeat([]byte{byte('a' + len(want)%23)}, n)
		want = append(want, p...)
		return p
	}
	full := false
	for range 1000 {
		all, err := w.trySend(part(60_000))
		if err != nil {
			t.Fatal(err)
		}
		if full = !all; full {
			break
		}
	}
	if !full {
		t.Fatal("60 MB fit into a connection that nobody reads from")
	}
	if all, err := w.trySend(part(10)); all || err != nil {
		t.Fatalf("more was sent while something waits: %v, %v", all, err)
	}
	got := make(chan []byte, 1)
	go func() { // ends with the connection
		b, _ := io.ReadAll(far)
		got <- b
	}()
	if err := w.send(nil); err != nil {
		t.Fatal(err)
	}
	if all, err := w.trySend(part(20)); !all || err != nil {
		t.Fatalf("nothing waits, but: %v, %v", all, err)
	}
	if _, err := w.Write(part(30)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if b := <-got; !bytes.Equal(b, want) {
		t.Fatalf("%d bytes arrived, want %d; the first that differs is %d", len(b), len(want), firstDifference(b, want))
	}
	if _, err := w.trySend([]byte("more")); err == nil {
		t.Fatal("a closed connection takes more")
	}
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}
