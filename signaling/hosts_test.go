package signaling

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// hostCases are the data of signals, and what goes on; "" is nothing.
var hostCases = []struct{ name, data, want string }{
	{"a private host candidate", `{"candidate":"candidate:1 1 udp 2122260223 192.168.1.5 50000 typ host generation 0","sdpMid":"0"}`, ""},
	{"one over TCP", `"candidate:1 1 tcp 1518280447 10.0.0.5 9 typ host tcptype active"`, ""},
	{"IPv6 of one network", `{"candidate":"candidate:1 1 udp 1 fd00::5 50000 typ host"}`, ""},
	{"link-local", `{"candidate":"candidate:1 1 udp 1 fe80::5 50000 typ host"}`, ""},
	{"of a provider's network", `{"candidate":"candidate:1 1 udp 1 100.64.1.2 50000 typ host"}`, ""},
	{"mapped", `{"candidate":"candidate:1 1 udp 1 ::ffff:10.1.2.3 50000 typ host"}`, ""},
	{"a public host", `{"candidate":"candidate:1 1 udp 1 203.0.113.5 50000 typ host"}`, `{"candidate":"candidate:1 1 udp 1 203.0.113.5 50000 typ host"}`},
	{"a name of mDNS", `{"candidate":"candidate:1 1 udp 1 0b1c2d3e.local 50000 typ host"}`, `{"candidate":"candidate:1 1 udp 1 0b1c2d3e.local 50000 typ host"}`},
	{
		"a reflexive one", ` {"candidate": "candidate:2 1 udp 1 203.0.113.5 50000 typ srflx raddr 192.168.1.5 rport 50000", "sdpMLineIndex":0 }`,
		` {"candidate": "candidate:2 1 udp 1 203.0.113.5 50000 typ srflx raddr 0.0.0.0 rport 50000", "sdpMLineIndex":0 }`,
	},
	{"a relayed one", `{"candidate":"candidate:3 1 udp 1 203.0.113.9 49152 typ relay raddr fd00::1 rport 1"}`, `{"candidate":"candidate:3 1 udp 1 203.0.113.9 49152 typ relay raddr :: rport 1"}`},
	{"the end of candidates", `null`, `null`},
	{"an empty one", `{"candidate":""}`, `{"candidate":""}`},
	{
		"an offer", `{"type":"offer","sdp":"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nc=IN IP4 192.168.1.5\r\na=rtcp:9 IN IP4 192.168.1.5\r\na=candidate:1 1 udp 1 192.168.1.5 50000 typ host\r\na=candidate:2 1 udp 1 203.0.113.5 50000 typ srflx raddr 192.168.1.5 rport 50000\r\na=x:<é>\r\n"}`,
		`{"type":"offer","sdp":"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=candidate:2 1 udp 1 203.0.113.5 50000 typ srflx raddr 0.0.0.0 rport 50000\r\na=x:<é>\r\n"}`,
	},
	{"one without private addresses", `{"sdp":"v=0\r\nc=IN IP4 0.0.0.0\r\na=candidate:1 1 udp 1 x.local 5 typ host\r\n\u00e9"}`, `{"sdp":"v=0\r\nc=IN IP4 0.0.0.0\r\na=candidate:1 1 udp 1 x.local 5 typ host\r\n\u00e9"}`},
	{"names of fields", `{"candidate:1 1 udp 1 10.0.0.1 5 typ host" : "c=IN IP4 10.0.0.1"}`, `{"candidate:1 1 udp 1 10.0.0.1 5 typ host" : "c=IN IP4 0.0.0.0"}`},
	{"what is no candidate", `["candidate:", "candidate:1 1", "a=candidate:\"10.0.0.1\""]`, `["candidate:", "candidate:1 1", "a=candidate:\"10.0.0.1\""]`},
}

func TestStripHosts(t *testing.T) {
	for _, c := range hostCases {
		got, pass := stripHosts([]byte(c.data))
		if string(got) != c.want || pass != (c.want != "") {
			t.Errorf("%s:\n got %s, %t\nwant %s", c.name, got, pass, c.want)
		}
	}
}

// FuzzStripHosts: what goes on is JSON, has nothing more to take out, and is the same but for
// strings that name candidates.
func FuzzStripHosts(f *testing.F) {
	for _, c := range hostCases {
		f.Add([]byte(c.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !json.Valid(data) {
			return
		}
		before := bytes.Clone(data)
		got, pass := stripHosts(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the input is changed")
		}
		if !pass {
			return
		}
		if !json.Valid(got) {
			t.Fatalf("%q is no JSON", got)
		}
		again, pass := stripHosts(got)
		if !pass || !bytes.Equal(again, got) {
			t.Fatalf("%q has more to take out: %q, %t", got, again, pass)
		}
		var was, is any
		if json.Unmarshal(data, &was) != nil || json.Unmarshal(got, &is) != nil {
			return // too deep
		}
		sameBut(t, was, is)
	})
}

// sameBut compares two values; strings with lines of candidates may differ.
func sameBut(t *testing.T, was, is any) {
	t.Helper()
	switch was := was.(type) {
	case map[string]any:
		is, ok := is.(map[string]any)
		if !ok {
			t.Fatalf("%v became %v", was, is)
		}
		for key, value := range was {
			sameBut(t, value, is[key])
		}
	case []any:
		is, ok := is.([]any)
		if !ok || len(is) != len(was) {
			t.Fatalf("%v became %v", was, is)
		}
		for i := range was {
			sameBut(t, was[i], is[i])
		}
	case string:
		is, ok := is.(string)
		if !ok || is != was && !strings.Contains(was, "candidate:") && !strings.Contains(was, "c=IN ") && !strings.Contains(was, "a=rtcp:") {
			t.Fatalf("%q became %q", was, is)
		}
	default:
		if was != is {
			t.Fatalf("%v became %v", was, is)
		}
	}
}

// TestStripHostCandidates: off by default; on, a member hears of no private address of another,
// and everything else comes as it was sent.
func TestStripHostCandidates(t *testing.T) {
	const (
		private = `{"candidate":"candidate:1 1 udp 1 192.168.1.5 50000 typ host"}`
		public  = `{"candidate":"candidate:1 1 udp 1 203.0.113.5 50000 typ host"}`
	)
	w := newWorld(t, Options{})
	ann, _ := w.enter("ann", `{"type":"hello","user":"ann","room":"r"}`)
	bob, _ := w.enter("bob", `{"type":"hello","user":"bob","room":"r"}`)
	ann.want(`{"type":"peer","event":"join"}`)
	send := func(kind, data string, reached int) {
		t.Helper()
		bob.say(`{"type":"signal","to":"@ann","id":1,"kind":"%s","data":%s}`, kind, data)
		bob.want(`{"type":"ok","re":1,"n":%d}`, reached)
	}
	send("candidate", private, 1)
	ann.want(`{"type":"signal","kind":"candidate","data":` + private + `}`)
	w.hub.SetStripHostCandidates(true)
	send("candidate", private, 0)
	send("candidate", public, 1)
	ann.want(`{"type":"signal","kind":"candidate","data":` + public + `}`)
	send("ring", private, 1) // not of the handshake
	ann.want(`{"type":"signal","kind":"ring","data":` + private + `}`)
	w.hub.SetStripHostCandidates(false)
	send("candidate", private, 1)
}
