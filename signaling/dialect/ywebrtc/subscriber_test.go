package ywebrtc

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"rtcd/signaling/dialect/rawjson"
)

// FuzzPublication: whatever somebody publishes, what others hear is the same object, and
// the number of clients.
func FuzzPublication(f *testing.F) {
	for _, frame := range []string{
		`{"type":"publish","topic":"t","data":null,"":{}}`, `{"type":"publish","clients":"x","Clients":1}`, `{}`,
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		said, ok := rawjson.Object(frame)
		if !ok {
			return
		}
		b := wordPublication(publication(said), 2)
		heard, ok := rawjson.Object(b)
		if !ok || !utf8.Valid(b) || !json.Valid(b) || string(heard["clients"]) != "2" {
			t.Fatalf("after %q others hear %q", frame, b)
		}
		for key, value := range said {
			if key != "clients" && string(heard[key]) != string(value) {
				t.Fatalf("after %q others hear %q", frame, b)
			}
		}
	})
}
