package rawtcp

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

func pair(t *testing.T) (near Trier, conn, far net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close(); far.Close() })
	conn = Wrap(nc)
	return conn.(Trier), conn, far
}

// TestEach: it is called at once and for what comes, not only for what came before; in
// it bytes are read to their end.
func TestEach(t *testing.T) {
	near, conn, far := pair(t)
	var got []byte
	var ends []error
	calls := 0
	err := near.Each(func() bool {
		calls++
		b := make([]byte, 3)
		for {
			n, err := near.TryRead(b)
			got = append(got, b[:n]...)
			switch {
			case errors.Is(err, ErrNothing):
				if calls == 1 && len(got) == 0 {
					far.Write([]byte("four"))
				}
				return false
			case err != nil:
				ends = append(ends, err)
				return true
			case n < len(b): // nothing else is there
				switch string(got) {
				case "four":
					far.Write([]byte("more"))
				case "fourmore":
					far.Close()
				}
				return false
			}
		}
	})
	if err != nil || string(got) != "fourmore" || len(ends) != 1 || !errors.Is(ends[0], io.EOF) {
		t.Fatalf("%v, got %q, ends %v", err, got, ends)
	}
	if n, err := near.TryRead(nil); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatal("afterwards: ", n, err)
	}
}

// TestEachEnds: with the deadline, and when another goroutine closes the connection.
func TestEachEnds(t *testing.T) {
	near, conn, _ := pair(t)
	conn.SetReadDeadline(time.Now())
	if err := near.Each(func() bool { return false }); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Time{})
	closed := make(chan error, 1)
	err := near.Each(func() bool {
		go func() { closed <- conn.Close() }() // ends when Each has
		return false
	})
	if !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := near.Each(func() bool { return true }); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
}
