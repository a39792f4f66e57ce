package signaling

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseMessage(t *testing.T) {
	long := strings.Repeat("n", 129)
	for text, code := range map[string]string{
		`{"type":"hello"}`:                                           "",
		`{"type":"hello","room":"r","role":"a/b"}`:                   CodeBadField,
		`{"type":"join","room":"r"}`:                                 "",
		"\r\n\t {\"type\":\"bye\"} ":                                 "",
		`{"type":"join"}`:                                            CodeBadField,
		`{"type":"join","room":""}`:                                  CodeBadField,
		`{"type":"join","room":"` + long + `"}`:                      CodeBadField,
		`{"type":"join","room":"a\u0000b"}`:                          CodeBadField,
		`{"type":"join","room":"a\u0085b"}`:                          CodeBadField,
		`{"type":"join","room":{}}`:                                  CodeBadField,
		`{"type":"join","room":"r","limit":-1}`:                      CodeBadField,
		`{"type":"join","room":"r","replace":true}`:                  CodeBadField,
		`{"type":"signal","to":"p","kind":"k","wait":10001}`:         CodeBadField,
		`{"type":"signal","to":"p"}`:                                 CodeBadField,
		`{"type":"signal","to":"@","kind":"k"}`:                      CodeBadField,
		`{"type":"signal","to":"#` + long + `","kind":"k"}`:          CodeBadField,
		`{"type":"signal","to":"#` + long[1:] + `/role","kind":"k"}`: "",
		`{"type":"message","to":"p"}`:                                CodeBadField,
		`{"type":"message","to":"p","data":null}`:                    "",
		`{"type":"update","role":"web"}`:                             CodeBadField,
		`{"type":"ping","id":"123456789012345678901234567890123"}`:   CodeBadField,
		`{"type":"ping","id":1.5}`:                                   CodeBadField,
		`{"type":"ping","id":[1]}`:                                   CodeBadField,
		`{"type":"ping","id":-7}`:                                    "",
		`{"type":"ping","id":null}`:                                  "",
		`{"type":"welcome"}`:                                         CodeBadType,
		`{"type":"toString"}`:                                        CodeBadType,
		`{}`:                                                         CodeBadType,
		`null`:                                                       CodeBadJSON,
		`[]`:                                                         CodeBadJSON,
		``:                                                           CodeBadJSON,
		`{`:                                                          CodeBadJSON,
		"{\"type\":\"\xff\"}":                                        CodeBadJSON,
		`{"type":"bye"}{"type":"bye"}`:                               CodeBadJSON,
	} {
		_, err := ParseMessage([]byte(text))
		got := ""
		if err != nil {
			got = err.Code
		}
		if got != code {
			t.Errorf("%.80s: %v, want %q", text, err, code)
		}
	}
}

func TestAFaultyMessageIsAnsweredByItsID(t *testing.T) {
	m, err := ParseMessage([]byte(`{"type":"join","id":"seven","room":7}`))
	if err == nil || string(m.ID) != `"seven"` {
		t.Fatalf("%s %v", m.ID, err)
	}
}

// FuzzMessage feeds a tenant with whatever parses: nothing may panic, and all that
// comes out must be JSON of the page's form.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		`{"type":"hello","token":"t","user":"u","data":{"a":[1,null]},"room":"r","resume":"x.y","seq":3}`,
		`{"type":"join","id":1,"room":"r","role":"web","replace":true,"limit":2,"data":"\u2028<>&"}`,
		`{"type":"leave","room":"r","peer":"p","ban":60}`,
		`{"type":"signal","id":"x","to":"#r/web","kind":"offer","conn":"c","wait":1,"data":null}`,
		`{"type":"signal","to":"@u\ud800","kind":"k"}`,
		`{"type":"message","to":"#r","event":"e","echo":true,"data":  {"k" : "v"} }`,
		`{"type":"update","room":"r","role":"app","data":[]}`,
		`{"type":"ice"}`, `{"type":"ping","seq":18446744073709551615}`, `{"type":"bye"}`,
		`{"type":"signal","to":"#a/b/c","kind":"\"\\"}`, `null`, `{"type":`, `{"type":"join","room":"r","limit":1e400}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseMessage(data)
		if err != nil {
			wantJSON(t, errorEvent(&m, err))
			return
		}
		tenant := NewTenant("fuzz", Rules{Members: 3, Rooms: 3, Presence: 100, Keep: time.Second})
		now := time.Unix(0, 0)
		var out []Delivery
		for _, name := range []string{"p", "q"} {
			member := &Member{ID: name, User: "u", Perms: permsOpen | PermKick}
			tenant.Enter(member, false)
			out = tenant.Apply(now, member, &Message{Type: TypeJoin, Room: "r", Role: "web"}, out)
		}
		p := tenant.members["p"]
		out = tenant.Apply(now, p, &m, out)
		out = tenant.Apply(now, p, &m, out)
		out = tenant.Tick(now.Add(time.Hour), out)
		for _, d := range out {
			if d.Event != nil {
				wantJSON(t, d.Event)
			}
		}
	})
}

func wantJSON(t *testing.T, e *Event) {
	frame := e.AppendFrame(nil, 7)
	if !json.Valid(frame) || !utf8.Valid(frame) {
		t.Fatalf("not JSON: %s", frame)
	}
	var head struct {
		Seq  int
		Type string
	}
	if err := json.Unmarshal(frame, &head); err != nil || head.Seq != 7 || head.Type != e.Type {
		t.Fatalf("%s: %v", frame, err)
	}
}

// TestDataIsRelayedByteForByte: what a sender wrote as data is what arrives.
func TestDataIsRelayedByteForByte(t *testing.T) {
	const data = `{"sdp" : "v=0\r\n\u00e9<&>\u2028",  "n":1.0e3, "big":12345678901234567890}`
	m, err := ParseMessage([]byte(`{"type":"message","to":"x","data":` + data + `}`))
	if err != nil {
		t.Fatal(err)
	}
	frame := string((&Event{Type: TypeMessage, Data: m.Data}).AppendFrame(nil, 1))
	if frame != `{"seq":1,"type":"message","data":`+data+`}` {
		t.Fatal(frame)
	}
}
