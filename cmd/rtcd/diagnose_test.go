package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"

	"rtcd/creds"
	"rtcd/signaling"
	"rtcd/turnsrv/relay"
)

// heard is one line of a check's answer.
type heard = map[string]any

// hearing is a check that a test runs: its answer's lines.
type hearing struct {
	t     *testing.T
	begun checkBegun
	first heard
	lines *bufio.Scanner
	hang  func()          // up
	known map[string]bool // what was heard of requests over UDP, which clients repeat
}

// check begins a check as the bearer of a token, "" for nobody.
func (r *running) check(token string) *hearing {
	r.t.Helper()
	answer, hang := r.postCheck(token)
	h := &hearing{t: r.t, lines: bufio.NewScanner(answer.Body), hang: hang, known: map[string]bool{}}
	if answer.StatusCode != http.StatusOK {
		r.t.Fatalf("the check is refused: %s", answer.Status)
	}
	h.first = h.next()
	text, _ := json.Marshal(h.first)
	if err := json.Unmarshal(text, &h.begun); err != nil {
		r.t.Fatal(err)
	}
	return h
}

func (r *running) postCheck(token string) (*http.Response, func()) {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.roots}, DisableKeepAlives: true}}
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	q, err := http.NewRequestWithContext(ctx, http.MethodPost, r.site("https")+"/api/v1/check", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	if token != "" {
		q.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	hang := func() { cancel(); answer.Body.Close() }
	r.t.Cleanup(hang)
	return answer, hang
}

// next is the next line, but for what a client asked again over UDP because its answer was late.
func (h *hearing) next() heard {
	h.t.Helper()
	for {
		line := h.any()
		if line["transport"] != "udp" || line["method"] == nil {
			return line
		}
		at := line["at"]
		delete(line, "at")
		text, _ := json.Marshal(line)
		if line["at"] = at; !h.known[string(text)] {
			h.known[string(text)] = true
			return line
		}
	}
}

func (h *hearing) any() heard {
	h.t.Helper()
	if !h.lines.Scan() {
		h.t.Fatalf("nothing more is heard: %v", h.lines.Err())
	}
	var line heard
	if err := json.Unmarshal(h.lines.Bytes(), &line); err != nil {
		h.t.Fatalf("%s: %v", h.lines.Bytes(), err)
	}
	return line
}

// see is the next line, whose `see` must be what is wanted.
func (h *hearing) see(want string) heard {
	h.t.Helper()
	line := h.next()
	if line["see"] != want {
		h.t.Fatalf("heard %v, want %s", line, want)
	}
	return line
}

// turnClient is a TURN client of the app over UDP or TCP.
func (r *running) turnClient(network string, s signaling.ICEServer) *turn.Client {
	r.t.Helper()
	tr := relay.UDP
	if network == "tcp" {
		tr = relay.TCP
	}
	address := r.turn.Addrs(tr)[0].String()
	var conn net.PacketConn
	if network == "tcp" {
		stream, err := net.Dial("tcp", address)
		if err != nil {
			r.t.Fatal(err)
		}
		conn = turn.NewSTUNConn(stream)
	} else {
		var err error
		if conn, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			r.t.Fatal(err)
		}
	}
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	c, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: conn, Username: s.Username, Password: s.Credential, LoggerFactory: quiet,
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close(); conn.Close() })
	if err := c.Listen(); err != nil {
		r.t.Fatal(err)
	}
	return c
}

var checkBlock = regexp.MustCompile("(?s)```json check=(begin|trace)\n(.*?)```")

// Every block of PROTOCOL.md's last section is a line of one check's answer.
func TestCheckProtocolPage(t *testing.T) {
	page, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := checkBlock.FindAllStringSubmatch(string(page), -1)
	if len(blocks) != 11 {
		t.Fatalf("%d blocks, want 11", len(blocks))
	}
	text := strings.Replace(loopback(t), "port_rest: 0}", "port_rest: 0, peers: {allow: 127.0.0.1}}", 1)
	text = strings.Replace(text, `turns: "127.0.0.1:0"`, `turns: ""`, 1)
	a := newRunning(t, io.Discard, text, lookup)
	a.serve()
	defer a.end()
	h := a.check(a.token("check"))
	defer h.hang()
	words := map[string]any{}
	line := 0
	compare := func(got heard) {
		t.Helper()
		var want heard
		if err := json.Unmarshal([]byte(blocks[line][2]), &want); err != nil {
			t.Fatalf("block %d: %v", line, err)
		}
		if where := differs(words, "", want, got); where != "" {
			b, _ := json.Marshal(got)
			t.Fatalf("block %d: at %s\nheard %s", line, where, b)
		}
		line++
	}
	compare(h.first)

	binder := a.turnClient("udp", signaling.ICEServer{})
	if _, err := binder.SendBindingRequest(); err != nil {
		t.Fatal(err)
	}
	compare(h.next())
	wrong := h.begun.Servers[1]
	wrong.Credential = "wrong"
	if _, err := a.turnClient("udp", wrong).Allocate(); err == nil {
		t.Fatal("a wrong password is let in")
	}
	compare(h.next())
	compare(h.next())
	c := a.turnClient("tcp", h.begun.Servers[2])
	compare(h.next())
	conn, err := c.Allocate()
	if err != nil {
		t.Fatal(err)
	}
	compare(h.next())
	compare(h.next())
	if err := c.CreatePermission(&net.UDPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 9}); err == nil {
		t.Fatal("a private peer is permitted")
	}
	compare(h.next())
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if err := c.CreatePermission(peer.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	compare(h.next())
	thereAndBack(t, conn, peer)
	got := h.next()
	for got["received"] == nil { // the look came between the two directions
		got = h.next()
	}
	compare(got)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	for got = h.next(); got["see"] != "closed"; got = h.next() { // the client binds a channel in its own time
		if got["see"] != "permitted" {
			t.Fatalf("heard %v", got)
		}
	}
	compare(got)
	h.hang()
	a.eventually("the check is over when its holder hangs up", func() bool { return !a.turn.Watched(netip.MustParseAddr("127.0.0.1")) })
}

// thereAndBack sends five bytes to the peer and back.
func thereAndBack(t *testing.T, conn, peer net.PacketConn) {
	t.Helper()
	buf := make([]byte, 100)
	for _, c := range []net.PacketConn{conn, peer} {
		c.SetReadDeadline(time.Now().Add(patience))
	}
	if _, err := conn.WriteTo([]byte("hello"), peer.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	n, from, err := peer.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peer.WriteTo(buf[:n], from); err != nil {
		t.Fatal(err)
	}
	if n, _, err := conn.ReadFrom(buf); err != nil || string(buf[:n]) != "hello" {
		t.Fatalf("%q came back: %v", buf[:n], err)
	}
}

// differs returns where got is not what the page has, "" if it is. A $word stands for
// the same value wherever it is, but for $at, which is any number.
func differs(words map[string]any, path string, want, got any) string {
	switch w := want.(type) {
	case string:
		if !strings.HasPrefix(w, "$") {
			break
		}
		if known, ok := words[w]; ok && w != "$at" && w != "$port" {
			want = known
			break
		}
		words[w] = got
		if got == nil {
			return path + ": missing"
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return path + ": a list of another length"
		}
		for i := range w {
			if where := differs(words, fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); where != "" {
				return where
			}
		}
		return ""
	case heard:
		g, ok := got.(heard)
		if !ok {
			return path + ": not an object"
		}
		for k := range g {
			if _, there := w[k]; !there {
				return path + "." + k + ": not on the page"
			}
		}
		for k := range w {
			if where := differs(words, path+"."+k, w[k], g[k]); where != "" {
				return where
			}
		}
		return ""
	}
	if !reflect.DeepEqual(want, got) {
		return fmt.Sprintf("%s: %v, want %v", path, got, want)
	}
	return ""
}

// A check hears of its own credentials only, and who has none may not begin one.
func TestNobodyHearsOfAnothersCheck(t *testing.T) {
	a := newRunning(t, io.Discard, loopback(t), lookup)
	a.serve()
	defer a.end()
	if answer, _ := a.postCheck(""); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %s", answer.Status)
	}
	if answer, _ := a.postCheck("forged"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("with a forged one: %s", answer.Status)
	}
	mine, others := a.check(a.token("check")), a.check(a.token("check"))
	if mine.begun.ID == others.begun.ID || mine.begun.Servers[1].Username == others.begun.Servers[1].Username {
		t.Fatal("two checks have one name")
	}
	alice := a.keys.Issue("alice", time.Hour, time.Now())
	for _, s := range []signaling.ICEServer{others.begun.Servers[1], {Username: alice.Username, Credential: alice.Password}, mine.begun.Servers[1]} {
		if _, err := a.turnClient("udp", s).Allocate(); err != nil {
			t.Fatal(err)
		}
	}
	// Nameless requests are heard of by both, for all come from one address. What different
	// clients did may be told in any order.
	for _, h := range []*hearing{mine, others} {
		heard := map[string]int{}
		for range 4 {
			line := h.next()
			what, _ := line["see"].(string)
			heard[what]++
			if named := line["n"] != nil; named != (what == "allocated") {
				t.Errorf("heard %v", line)
			}
		}
		if heard["challenged"] != 3 || heard["allocated"] != 1 {
			t.Errorf("heard %v", heard)
		}
	}
	// Whatever else there was to hear would come before this.
	for _, h := range []*hearing{mine, others} {
		if _, err := a.turnClient("udp", signaling.ICEServer{}).SendBindingRequest(); err != nil {
			t.Fatal(err)
		}
		h.see("bound")
	}
}

// An expired credential is told apart from a wrong one, with how late it came.
func TestCheckWithAClockThatIsWrong(t *testing.T) {
	a := newRunning(t, io.Discard, loopback(t), lookup)
	a.serve()
	defer a.end()
	h := a.check(a.token("check"))
	late := a.keys.Issue(creds.UserOfCheck(h.begun.ID, 1, false), creds.CheckTTL, time.Now().Add(-time.Hour))
	if _, err := a.turnClient("udp", signaling.ICEServer{Username: late.Username, Credential: late.Password}).Allocate(); err == nil {
		t.Fatal("an expired credential is let in")
	}
	h.see("challenged")
	line := h.see("refused")
	if seconds, _ := line["late"].(float64); line["why"] != "expired" || seconds < 3530 || seconds > 3600 {
		t.Errorf("heard %v, want late by 3540 seconds", line)
	}
}

// TLS that fails is told with the client's alert and the name that it asked for.
func TestCheckHearsOfTLS(t *testing.T) {
	a := newRunning(t, io.Discard, loopback(t), lookup)
	a.serve()
	defer a.end()
	h := a.check(a.token("check"))
	address := a.turn.Addrs(relay.TLS)[0].String()
	if _, err := tls.Dial("tcp", address, &tls.Config{ServerName: "localhost"}); err == nil {
		t.Fatal("the certificate is trusted")
	}
	h.see("connected")
	line := h.see("tls-failed")
	if why, _ := line["why"].(string); !strings.HasPrefix(why, "alert: tls: ") || line["name"] != "localhost" || line["transport"] != "tls" {
		t.Errorf("heard %v", line)
	}
	// So it is on the port that TURN shares with HTTPS.
	if _, err := tls.Dial("tcp", a.https.listeners[0].Addr().String(), &tls.Config{ServerName: "localhost"}); err == nil {
		t.Fatal("the certificate is trusted")
	}
	if line := h.see("tls-failed"); line["name"] != "localhost" || line["port"] != float64(a.https.port()) {
		t.Errorf("heard %v", line)
	}
	conn, err := tls.Dial("tcp", address, &tls.Config{ServerName: "localhost", RootCAs: a.roots})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h.see("connected")
	if line := h.see("secured"); line["why"] != "TLS 1.3" {
		t.Errorf("heard %v", line)
	}
}

// Open checks get restricted credentials, and an address may run four at once.
func TestOpenChecksAreBounded(t *testing.T) {
	a := newRunning(t, io.Discard, loopback(t)+"check: open\n", lookup)
	a.serve()
	defer a.end()
	var running []*hearing
	for range 4 {
		h := a.check("")
		if login, ok := a.keys.Verify(h.begun.Servers[1].Username, h.begun.Servers[1].Credential, time.Now()); !ok {
			t.Fatal("the credential is worth nothing")
		} else if relayOnly, most := creds.Restricted(login.User); !h.begun.Restricted || !relayOnly || most != creds.CheckBytes {
			t.Errorf("%q is not restricted", login.User)
		}
		running = append(running, h)
	}
	if answer, _ := a.postCheck(""); answer.StatusCode != http.StatusTooManyRequests {
		t.Errorf("the fifth: %s", answer.Status)
	}
	for _, h := range running {
		h.hang()
	}
	a.eventually("their places are free again", func() bool {
		answer, hang := a.postCheck("")
		defer hang()
		return answer.StatusCode == http.StatusOK
	})
}
