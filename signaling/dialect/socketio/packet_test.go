package socketio

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePacket(t *testing.T) {
	for text, want := range map[string]packet{
		`0`:                      {kind: connect, namespace: "/"},
		`0/team-a?token=x&y=1`:   {kind: connect, namespace: "/team-a"},
		`0/team-a,{"token":"x"}`: {kind: connect, namespace: "/team-a", data: json.RawMessage(`{"token":"x"}`)},
		`1/team-a,`:              {kind: disconnect, namespace: "/team-a"},
		`2["a",{"b":null}]`:      {kind: event, namespace: "/", data: json.RawMessage(`["a",{"b":null}]`)},
		`2/team-a,17["a"]`:       {kind: event, namespace: "/team-a", id: "17", data: json.RawMessage(`["a"]`)},
		`51-/t,3["a",{"_placeholder":true,"num":0}]`: {kind: binaryEvent, attachments: 1, namespace: "/t", id: "3", data: json.RawMessage(`["a",{"_placeholder":true,"num":0}]`)},
		`3/t,12[]`: {kind: ack, namespace: "/t", id: "12", data: json.RawMessage(`[]`)},
	} {
		got, err := parsePacket([]byte(text))
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(packet{})); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", text, err, diff)
		}
	}
	for _, text := range []string{
		``, `7`, `x`, `5["a"]`, `5-["a"]`, `5-1-["a"]`, `565536-["a"]`, `599-["a"]`, `2[`, `2["a"]x`,
		`2/` + string(bytes.Repeat([]byte("n"), 200)) + `,["a"]`, `2/a b,["a"]`, `2/é,["a"]`, `2/a",["a"]`, `21234567890123456["a"]`,
	} {
		if p, err := parsePacket([]byte(text)); err == nil {
			t.Errorf("%q is taken as %+v", text, p)
		}
	}
}

func TestParseInputRefuses(t *testing.T) {
	for _, data := range []string{`null`, `{}`, `[]`, `[1]`, `[null]`, `[["a"]]`, `"a"`} {
		if in, err := parseInput(&packet{data: json.RawMessage(data)}, nil); err == nil {
			t.Errorf("%s is taken as %+v", data, in)
		}
	}
	one := [][]byte{{1}}
	for data, fits := range map[string]bool{
		`["a",{"_placeholder":true,"num":0}]`:             true,
		`["a",[{"x":{"_placeholder":true,"num":0}}]]`:     true,
		`["a",{"_placeholder":false,"num":7}]`:            true,
		`["a",{"_placeholder":true,"num":1}]`:             false,
		`["a",{"_placeholder":true,"num":-1}]`:            false,
		`["a",{"_placeholder":true,"num":0.5}]`:           false,
		`["a",{"_placeholder":true,"num":"0"}]`:           false,
		`["a",{"_placeholder":true}]`:                     false,
		`["a",[{"x":{"_placeholder":true,"num":1e300}}]]`: false,
	} {
		if _, err := parseInput(&packet{data: json.RawMessage(data)}, one); (err == nil) != fits {
			t.Errorf("%s with one attachment: %v", data, err)
		}
	}
}

// FuzzPacket: what is taken can be sent again and comes back the same.
func FuzzPacket(f *testing.F) {
	for _, text := range []string{`0/team-a?token=x`, `2/t,1["a",{"b":null}]`, `52-["a",{"_placeholder":true,"num":0}]`, `31[]`, `1`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := parsePacket(text)
		if err != nil {
			return
		}
		again := appendPacket(nil, p)
		q, err := parsePacket(again)
		if err != nil {
			t.Fatalf("%q came from %q: %v", again, text, err)
		}
		if diff := cmp.Diff(p, q, cmp.AllowUnexported(packet{})); diff != "" {
			t.Fatalf("%q became %q\n%s", text, again, diff)
		}
		if in, err := parseInput(&p, nil); err == nil {
			in.all()
			owner(in)
		}
	})
}

// FuzzArgs: the hub's bytes of an event come back as they went in; foreign bytes do no harm.
func FuzzArgs(f *testing.F) {
	f.Add([]byte(`"a",{"b":1}`), []byte{1, 2}, []byte{})
	f.Fuzz(func(t *testing.T, json, one, two []byte) {
		unpack(json)
		in := args{json: json, attachments: [][]byte{one, two}}
		out := unpack(in.pack())
		if !bytes.Equal(out.json, json) || len(out.attachments) != 2 ||
			!bytes.Equal(out.attachments[0], one) || !bytes.Equal(out.attachments[1], two) {
			t.Fatalf("%v became %v", in, out)
		}
	})
}
