package turnsrv

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/pion/stun/v3"
)

// What the first bytes of a stream say. Padding belongs to the frame; nothing has
// size 0; what is too long or not TURN shows before it has come whole.
func TestScanFrame(t *testing.T) {
	binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	for _, c := range []struct {
		name string
		buf  []byte
		max  int
		n    int
		err  error
	}{
		{"nothing", nil, 2048, 0, nil},
		{"one byte of STUN", binding[:1], 2048, 0, nil},
		{"STUN without its end", binding[:19], 2048, 0, nil},
		{"STUN", binding, 2048, 20, nil},
		{"STUN and more", append(binding[:20:20], 1, 2, 3), 2048, 20, nil},
		{"STUN with an odd length", []byte{0, 1, 0, 3}, 2048, 0, ErrNotTURN},
		{"STUN without the cookie", append([]byte{0, 1, 0, 0}, make([]byte, 16)...), 2048, 0, ErrNotTURN},
		{"STUN of 65,552 bytes", []byte{0, 1, 0xff, 0xfc}, maxFrame, 0, ErrFrameTooLong},
		{"empty ChannelData", []byte{0x40, 0, 0, 0}, 2048, 4, nil},
		{"ChannelData of 1, not held back", []byte{0x40, 0, 0, 1, 'x', 0, 0, 0}, 2048, 8, nil},
		{"ChannelData without its padding", []byte{0x40, 0, 0, 1, 'x', 0, 0}, 2048, 0, nil},
		{"ChannelData of 4", []byte{0x40, 0, 0, 4, 1, 2, 3, 4, 0x40}, 2048, 8, nil},
		{"ChannelData of 2,045 before authentication", []byte{0x40, 0, 0x07, 0xfd}, 2048, 0, ErrFrameTooLong},
		{"ChannelData of 2,044 before authentication", []byte{0x40, 0, 0x07, 0xfc}, 2048, 0, nil},
		{"ChannelData of 65,507", []byte{0x40, 0, 0xff, 0xe3}, maxFrame, 0, nil},
		{"ChannelData of 65,535", []byte{0x40, 0, 0xff, 0xff}, maxFrame, 0, nil},
		{"TLS", []byte{0x16, 3, 1, 0, 0xc8, 1, 0, 0}, 2048, 0, ErrNotTURN},
		{"first bits 10", []byte{0x80}, 2048, 0, ErrNotTURN},
	} {
		n, err := ScanFrame(c.buf, c.max)
		if n != c.n || !errors.Is(err, c.err) {
			t.Errorf("%s: got %d, %v, want %d, %v", c.name, n, err, c.n, c.err)
		}
	}
}

// FuzzScanFrame: a frame is never empty, never more than there is or allowed, a
// multiple of 4, as long as its header says, and the same however much of the stream
// has come.
func FuzzScanFrame(f *testing.F) {
	f.Add(stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw)
	f.Add([]byte{0x40, 0, 0, 1, 'x', 0, 0, 0, 0x40, 0, 0, 0})
	f.Add([]byte{0x40, 0, 0xff, 0xfc, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff})
	f.Add([]byte{0x40, 0, 0, 0, 0x40, 0, 0, 0})
	f.Add([]byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 0, 0, 0})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, max := range []int{maxAnonymousFrame, maxFrame} {
			n, err := ScanFrame(b, max)
			if n < 0 || n > len(b) || n > max || n%4 != 0 || err != nil && n != 0 {
				t.Fatalf("max %d: %d, %v of %d bytes", max, n, err, len(b))
			}
			if err != nil {
				continue
			}
			if n == 0 { // more is needed: at most max bytes, then it is decided
				more := append(bytes.Clone(b), make([]byte, max)...)
				if n, err := ScanFrame(more, max); n == 0 && err == nil {
					t.Fatalf("undecided after %d bytes", len(more))
				}
				continue
			}
			if said := int(b[2])<<8 | int(b[3]); b[0]>>6 == 1 && (n < 4+said || n > 4+said+3) || b[0]>>6 == 0 && n != 20+said {
				t.Fatalf("a frame of %d bytes, its header says %d", n, said)
			}
			if m, err := ScanFrame(b[:n], max); m != n || err != nil {
				t.Fatalf("alone: %d, %v, want %d", m, err, n)
			}
			if m, _ := ScanFrame(b[:n-1], max); m != 0 {
				t.Fatalf("a byte short: %d", m)
			}
		}
	})
}

// FuzzStream: a stream is cut into the same frames however it comes, byte by byte or
// at once, and all its bytes are in one of them, or wait, or end it.
func FuzzStream(f *testing.F) {
	binding := stun.MustBuild(stun.TransactionID, stun.BindingRequest).Raw
	f.Add(append(append([]byte{0x40, 0, 0, 1, 'x', 0, 0, 0}, binding...), 0x40, 0, 0, 0, 0x40), uint8(3))
	f.Add([]byte{0x40, 0, 0, 0, 0x80}, uint8(1))
	f.Add([]byte{0x40, 0, 0xff, 0xff, 1, 2, 3, 4}, uint8(7))
	f.Fuzz(func(t *testing.T, stream []byte, cut uint8) {
		whole, ended := framesOf(t, stream, len(stream)+1)
		parts, endedToo := framesOf(t, stream, int(cut%32)+1)
		if ended != endedToo || !slices.Equal(whole, parts) {
			t.Fatalf("at once: %v, ended %v; in parts of %d: %v, ended %v", whole, ended, cut%32+1, parts, endedToo)
		}
	})
}

// framesOf reads a stream as a connection does, n bytes at a time.
func framesOf(t *testing.T, stream []byte, n int) (frames []int, ended bool) {
	var buf []byte
	for len(stream) > 0 {
		some := min(n, len(stream))
		buf, stream = append(buf, stream[:some]...), stream[some:]
		for {
			size, err := ScanFrame(buf, maxAnonymousFrame)
			if err != nil {
				return frames, true
			}
			if size == 0 {
				break
			}
			frames, buf = append(frames, size), buf[size:]
		}
		if len(buf) >= maxAnonymousFrame+n {
			t.Fatalf("%d bytes wait for a frame", len(buf))
		}
	}
	return frames, false
}
