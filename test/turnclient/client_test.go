package turnclient

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// TestADeadlineCutsNoFrame: what was read of a frame when the time was up is still there for
// the next Read.
func TestADeadlineCutsNoFrame(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := New(near, "ann", "secret")
	for _, part := range []string{"\x40", "\x00\x00\x05he", "llo\x00\x00\x00"} {
		if err := near.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("half a frame: %v", err)
		}
		if err := near.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = far.Write([]byte(part)) }() // ends when all is read
		if part != "llo\x00\x00\x00" {
			if err := near.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("half a frame: %v", err)
			}
			continue
		}
		b, err := c.Read()
		if err != nil || string(b) != "\x40\x00\x00\x05hello" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}
