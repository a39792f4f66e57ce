package signaling

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// TestUsualMessagesAreScanned: what clients send all the time does not go the slow way.
func TestUsualMessagesAreScanned(t *testing.T) {
	for _, text := range []string{
		`{"type":"signal","to":"abc","kind":"candidate","conn":"main","data":{"candidate":"a\r\n","sdpMLineIndex":0}}`,
		`{"type":"signal","id":7,"to":"@bob","kind":"offer","data":null,"seq":12}`,
		`{"type":"message","id":"x","to":"#r","event":"chat","echo":true,"data":[1.5e3,-0,{"a":{}},"é\u00e9"]}`,
		"\r\n{ \"type\" : \"ping\" , \"seq\" : 18446744073709551615 } ",
		`{}`,
	} {
		var m Message
		if !m.scan([]byte(text)) {
			t.Errorf("not scanned: %s", text)
		}
		wantSameAsJSON(t, []byte(text))
	}
}

// TestOddMessagesAreLeftToJSON: the scanner never guesses.
func TestOddMessagesAreLeftToJSON(t *testing.T) {
	for _, text := range []string{
		`{"Type":"ping"}`, `{"type":"p\u0069ng"}`, `{"type":null}`, `{"type":"ping","what":1}`, `{"type":"ping",}`,
		`{"type":"ping"} x`, `{"seq":01}`, `{"seq":18446744073709551616}`, `{"seq":-1}`, `{"data":01}`, `{"data":1.}`,
		`{"data":"\x"}`, `{"data":"\u12g4"}`, "{\"data\":\"\n\"}", `{"data":tru}`, `{"data":}`, `{"echo":1}`, `{`, ``,
		`{"data":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		var m Message
		if m.scan([]byte(text)) {
			t.Errorf("scanned: %s", text)
		}
	}
}

// FuzzScan compares the scanner with encoding/json.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"type":"signal","id":7,"to":"@bob","kind":"offer","conn":"c","data":{"a":[1,-2.5e+3,"\u00e9\n"]},"seq":12}`,
		`{"type":"message","to":"#r","event":"e","echo":true,"data":[ ],"id":"x"}`,
		`{"data":1,"data":{"type":"x"},"type":"ping","type":"bye"}`,
		`{"data":0.0E-0,"room":"","role":"é","user":"u","token":"t","resume":"r","peer":"p","echo":false}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(wantSameAsJSON)
}

func wantSameAsJSON(t *testing.T, data []byte) {
	var fast, slow Message
	if !utf8.Valid(data) || !fast.scan(data) {
		return
	}
	if err := json.Unmarshal(data, &slow); err != nil {
		t.Fatalf("scanned, but not JSON: %q: %v", data, err)
	}
	if diff := cmp.Diff(slow, fast); diff != "" {
		t.Fatalf("%q: (-json +scan)\n%s", data, diff)
	}
}

func BenchmarkParseMessage(b *testing.B) {
	data := []byte(`{"type":"signal","to":"abcdefghijklmnopqrstuvwxyz","kind":"candidate","data":{"candidate":"candidate:842163049 ` +
		`1 udp 1677729535 203.0.113.7 46154 typ srflx raddr 10.0.0.17 rport 46154 generation 0","sdpMid":"0","sdpMLineIndex":0}}`)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseMessage(data); err != nil {
			b.Fatal(err)
		}
	}
}
