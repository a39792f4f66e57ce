package engine

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The payloads as the JavaScript parsers write them.
var payloads = []struct {
	name    string
	rev     int
	octets  bool
	body    string
	packets []Packet
}{
	{"one text, 4", 4, false, "4hello", []Packet{Text([]byte("hello"))}},
	{"several, 4", 4, false, "4a\x1e2\x1ebAQID", []Packet{Text([]byte("a")), {kind: '2', Data: []byte{}}, Binary([]byte{1, 2, 3})}},
	{"one text, 3", 3, false, "6:4hello", []Packet{Text([]byte("hello"))}},
	{"UTF-16 units, 3", 3, false, "5:4你好😀3:4ab", []Packet{Text([]byte("你好😀")), Text([]byte("ab"))}},
	{"encoded twice, 3", 3, false, "7:4ä½\u00a0å¥½", []Packet{Text([]byte("你好"))}},
	{"Latin, encoded once, 3", 3, false, "3:4éa", []Packet{Text([]byte("éa"))}},
	{"base64, 3", 3, false, "6:b4AQID", []Packet{Binary([]byte{1, 2, 3})}},
	{"octets, 3", 3, true, "\x00\x06\xff4hello\x01\x04\xff\x04\x01\x02\x03", []Packet{Text([]byte("hello")), Binary([]byte{1, 2, 3})}},
	{"octets of two digits, 3", 3, true, "\x00\x01\x02\xff4hello world", []Packet{Text([]byte("hello world"))}},
}

func TestParsePayload(t *testing.T) {
	for _, test := range payloads {
		got, err := parsePayload(test.rev, test.octets, []byte(test.body))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.packets, got, cmp.AllowUnexported(Packet{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

func TestParsePayloadRefuses(t *testing.T) {
	for _, test := range []struct {
		name   string
		rev    int
		octets bool
		body   string
	}{
		{"empty, 4", 4, false, ""},
		{"empty, 3", 3, false, ""},
		{"unknown type", 4, false, "9x"},
		{"not UTF-8, 4", 4, false, "4\xff"},
		{"not UTF-8, 3", 3, false, "2:4\xff"},
		{"bad base64", 4, false, "b???"},
		{"base64 of no message, 3", 3, false, "6:b3AQID"},
		{"too short, 3", 3, false, "6:4a"},
		{"cut in a pair of surrogates, 3", 3, false, "2:4😀"},
		{"no length, 3", 3, false, ":4a"},
		{"negative length, 3", 3, false, "-1:4a"},
		{"length beyond numbers, 3", 3, false, "99999999999999999999:4a"},
		{"octets: length in ASCII", 3, true, "\x0016\xff4hello"},
		{"octets: too short", 3, true, "\x00\x07\xff4hello"},
		{"octets: no length", 3, true, "\x00\xff4hello"},
		{"octets: kind 2", 3, true, "\x02\x06\xff4hello"},
		{"octets: binary of no message", 3, true, "\x01\x02\xff\x03a"},
		{"a thousand packets", 4, false, "4" + strings.Repeat("\x1e4", 1<<11)},
		{"a thousand packets", 3, false, strings.Repeat("1:4", 1<<11)},
	} {
		if got, err := parsePayload(test.rev, test.octets, []byte(test.body)); err == nil {
			t.Errorf("%s: taken as %v", test.name, got)
		}
	}
}

// What revision 3 sends to a polling client is ASCII, whichever parser reads it.
func TestPayload3IsASCII(t *testing.T) {
	body, octets := appendPayload(nil, 3, true, []Packet{Text([]byte(`2["你é😀"]`)), Binary([]byte{1, 2, 3})})
	want := `30:42["\u4f60\u00e9\ud83d\ude00"]6:b4AQID`
	if string(body) != want || octets {
		t.Errorf("got  %s\nwant %s", body, want)
	}
	body, octets = appendPayload(nil, 3, false, []Packet{Text([]byte(`a`)), Binary([]byte{1, 2, 3})})
	if !octets || string(body) != "\x00\x02\xff4a\x01\x04\xff\x04\x01\x02\x03" {
		t.Errorf("octets: %v %q", octets, body)
	}
}

// FuzzPayload: what is taken can be sent again and comes back the same.
func FuzzPayload(f *testing.F) {
	for _, test := range payloads {
		f.Add(test.rev == 4, test.octets, false, []byte(test.body))
	}
	f.Fuzz(func(t *testing.T, four, octets, b64 bool, body []byte) {
		rev := 3
		if four {
			rev = 4
		}
		packets, err := parsePayload(rev, octets, body)
		if err != nil {
			return
		}
		if slices.ContainsFunc(packets, func(p Packet) bool {
			return !p.Binary && bytes.ContainsFunc(p.Data, func(r rune) bool { return r > 0x7e || r == separator })
		}) {
			return // only ASCII is for every parser; the separator cannot be in JSON
		}
		again, isOctets := appendPayload(nil, rev, b64, packets)
		got, err := parsePayload(rev, isOctets, again)
		if err != nil {
			t.Fatalf("%q came from %q: %v", again, body, err)
		}
		if !slices.EqualFunc(packets, got, func(a, b Packet) bool {
			return a.kind == b.kind && a.Binary == b.Binary && bytes.Equal(a.Data, b.Data)
		}) {
			t.Fatalf("%v became %v", packets, got)
		}
	})
}
