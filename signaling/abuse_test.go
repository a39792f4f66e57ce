package signaling

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/creds"
)

// from is the header by which clients of these tests say what address they have.
const from = "Test-Address"

func byHeader(r *http.Request) string { return r.Header.Get(from) }

func at(address string) http.Header { return http.Header{from: {address}} }

// TestGuessersWait: who is refused ten times gets its answers later and later; a good token
// from the same address, and a bad one from another, are answered at once.
func TestGuessersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{
			Auth: tokens{"good": creds.Claims{Room: "r", Expires: never}}, Address: byHeader,
		})
		guess := func(address, hello string, want time.Duration) {
			t.Helper()
			start := time.Now()
			c := w.open("guesser", at(address))
			c.say("%s", hello)
			c.want(`{"type":"error"}`)
			if d := time.Since(start); d != want {
				t.Fatalf("answered after %v, want %v", d, want)
			}
			c.wantClosed(map[bool]int{true: CloseForbidden, false: CloseUnauthorized}[strings.Contains(hello, "good")])
		}
		for range 5 {
			guess("2001:db8::1", `{"type":"hello","token":"bad"}`, 0)
			guess("2001:db8::ffff:2", `{"type":"hello","token":"good","room":"not mine"}`, 0) // the same /64
		}
		for _, seconds := range []int{1, 2, 4, 8, 16, 25, 25} {
			guess("2001:db8::3", `{"type":"hello","token":"bad"}`, time.Duration(seconds)*time.Second)
			guess("2001:db8:0:1::3", `{"type":"hello","token":"bad"}`, 0)
		}
		waits := w.open("waits", at("2001:db8::1"))
		waits.say(`{"type":"hello","token":"bad"}`)
		synctest.Wait()
		start := time.Now()
		good := w.open("good", at("2001:db8::1"))
		good.say(`{"type":"hello","token":"good","room":"r"}`)
		good.want(`{"type":"welcome"}`)
		if d := time.Since(start); d != 0 {
			t.Fatalf("a good token is answered after %v", d)
		}
		waits.say(`{"type":"hello","token":"another"}`)
		waits.wantClosed(CloseRate)
		good.conn.Close()
		time.Sleep(time.Hour)
		guess("2001:db8::1", `{"type":"hello","token":"bad"}`, 0)
	})
}

// TestGuessersOverHTTPWait as those who say hello do: they are counted together, and one who
// asks at many doors at once is refused before the hub is full of answers that wait.
func TestGuessersOverHTTPWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := runHub(t, Options{Auth: tokens{}, Address: byHeader})
		guess := func(ctx context.Context, address string) (late time.Duration, patient bool) {
			start := time.Now()
			r := (&http.Request{Header: at(address)}).WithContext(ctx)
			patient = hub.Penalize(r)
			return time.Since(start), patient
		}
		want := func(address string, late time.Duration) {
			t.Helper()
			if d, ok := guess(t.Context(), address); d != late || !ok {
				t.Errorf("%s is answered after %v, %v; want %v", address, d, ok, late)
			}
		}
		for range 10 {
			want("192.0.2.1", 0)
		}
		for _, late := range []time.Duration{firstDelay, 2 * firstDelay, 4 * firstDelay, 8 * firstDelay, 16 * firstDelay, longestDelay, longestDelay} {
			want("192.0.2.1", late)
			want("192.0.2.2", 0)
		}
		gone, hangUp := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for range maxLatePerCaller {
			waiting.Go(func() { guess(gone, "192.0.2.1") })
		}
		synctest.Wait()
		if d, ok := guess(t.Context(), "192.0.2.1"); ok || d != 0 {
			t.Errorf("one too many: %v after %v", ok, d)
		}
		hangUp()
		waiting.Wait()
		want("192.0.2.1", 25*time.Second)
		start := time.Now()
		waiting.Go(func() { guess(t.Context(), "192.0.2.1") })
		synctest.Wait()
		hub.Drain(0)
		waiting.Wait()
		if d := time.Since(start); d != 0 {
			t.Errorf("an answer is held back for %v while the hub goes down", d)
		}
		if who := hub.callers.here["192.0.2.1"]; who != nil || hub.callers.late != 0 {
			t.Errorf("%d are counted as waiting, %v", hub.callers.late, who)
		}
	})
}

// TestALateAnswerEndsWithTheHub: nobody waits for it when the hub goes.
func TestALateAnswerEndsWithTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{
			Auth: tokens{"good": creds.Claims{Room: "r", Expires: never}}, Limits: Limits{FailuresPerIP: 1},
		})
		first := w.open("first", nil)
		first.say(`{"type":"hello","token":"bad"}`)
		first.wantClosed(CloseUnauthorized)
		late := w.open("late", nil)
		late.say(`{"type":"hello","token":"good","room":"not mine"}`)
		synctest.Wait()
		drained := make(chan struct{})
		go func() { defer close(drained); w.hub.Drain(0) }() // a pipe wants to be read from
		late.wantClosed(CloseGoing)
		<-drained
	})
}

// TestFailuresAreForgotten: the table of addresses has a size.
func TestFailuresAreForgotten(t *testing.T) {
	var c callers
	now := time.Unix(1e9, 0)
	l := rateLimit{10.0 / 1800, 10}
	for i := range 3 * maxFailures {
		c.failed(now, fmt.Sprint(i), l)
		if i == maxFailures {
			now = now.Add(time.Hour)
		}
	}
	if len(c.failures) > maxFailures {
		t.Fatalf("%d addresses are remembered", len(c.failures))
	}
}

// TestStrangersOfOneAddressAreBounded: the oldest that said nothing goes, those that
// say hello stay.
func TestStrangersOfOneAddressAreBounded(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{StrangersPerIP: 3}, Address: byHeader, HelloTimeout: time.Hour})
	for i := range 10 {
		c := w.open(fmt.Sprint("member ", i), at("192.0.2.1"))
		c.say(`{"type":"hello"}`)
		c.want(`{"type":"welcome"}`)
	}
	other := w.open("elsewhere", at("192.0.2.2"))
	var mute []*client
	for i := range 4 {
		mute = append(mute, w.open(fmt.Sprint("mute ", i), at("192.0.2.1")))
		for w.strangers("192.0.2.1") < min(i+1, 3) { // a client is told before it is counted
			time.Sleep(time.Millisecond)
		}
	}
	if _, err := mute[0].tryHear(); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Fatalf("the oldest is still there: %v", err)
	}
	for _, c := range append(mute[1:], other) {
		c.say(`{"type":"hello"}`)
		c.want(`{"type":"welcome"}`)
	}
	if n := w.strangers("192.0.2.1"); n != 0 {
		t.Errorf("%d strangers are counted", n)
	}
}

// strangers counts the sockets of an address that said no hello yet.
func (w *world) strangers(address string) int {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if who := w.hub.callers.here[address]; who != nil {
		return len(who.strangers)
	}
	return 0
}

// TestSessionsAreBounded: by address, and in all.
func TestSessionsAreBounded(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Sessions: 3, SessionsPerIP: 2}, Address: byHeader})
	hello := func(address string) *client {
		c := w.open("client of "+address, at(address))
		c.say(`{"type":"hello"}`)
		return c
	}
	refused := func(address string) {
		t.Helper()
		c := hello(address)
		c.want(`{"type":"error","code":"limit"}`)
		c.wantClosed(CloseRate)
	}
	one := hello("192.0.2.1")
	one.want(`{"type":"welcome"}`)
	hello("192.0.2.1").want(`{"type":"welcome"}`)
	refused("192.0.2.1")
	hello("192.0.2.2").want(`{"type":"welcome"}`)
	refused("192.0.2.3")
	one.say(`{"type":"bye"}`)
	one.wantClosed(CloseNormal)
	hello("192.0.2.1").want(`{"type":"welcome"}`)
}

// TestBytesAreCountedForEachReceiver: a broadcast costs its sender what it costs the hub.
func TestBytesAreCountedForEachReceiver(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{ByteRate: 1, ByteBurst: 50_000}})
	alone, _ := w.enter("with one", `{"type":"hello","room":"small"}`)
	w.enter("the one", `{"type":"hello","room":"small"}`)
	alone.want(`{"event":"join"}`)
	many, _ := w.enter("with five", `{"type":"hello","room":"large"}`)
	for range 5 {
		w.enter("one of five", `{"type":"hello","room":"large"}`)
		many.want(`{"event":"join"}`)
	}
	for _, c := range []struct {
		*client
		room string
		want int // messages of 1,000 bytes: 50, and 10 to five; the last may leave a debt
	}{{alone, "small", 50}, {many, "large", 10}} {
		text, sent := strings.Repeat("x", 1000), 0
		for ; sent < 100; sent++ {
			c.say(`{"type":"message","id":1,"to":"#%s","data":"%s"}`, c.room, text)
			if c.hear()["code"] == CodeRate {
				break
			}
		}
		if sent > c.want || sent < c.want*8/10 {
			t.Errorf("%s: %d messages pass, want about %d", c.name, sent, c.want)
		}
	}
}

// TestNobodyPutsAnotherOut: what one sender has waiting for a slow member is bounded, so
// that there is room for others; the sender hears of each message that was not taken.
func TestNobodyPutsAnotherOut(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Queue: 16}})
	bob, welcome := w.enter("bob", `{"type":"hello","room":"r"}`)
	ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
	cyd, _ := w.enter("cyd", `{"type":"hello","room":"r"}`)
	ann.want(`{"event":"join"}`)
	bob.want(`{"event":"join"}`)
	last := bob.want(`{"event":"join"}`)
	bob.cut()
	ann.want(`{"event":"away"}`)
	cyd.want(`{"event":"away"}`)
	for i := range 20 {
		ann.say(`{"type":"message","id":%d,"to":"#r","data":%d}`, i, i)
		cyd.want(`{"type":"message","data":%d}`, i)
		ann.want(`{"type":"ok"}`)
		if i >= 14 {
			ann.want(`{"type":"error","code":"rate","to":"%s"}`, welcome.str("peer"))
		}
	}
	cyd.say(`{"type":"message","to":"#r","data":"mine"}`)
	ann.want(`{"type":"message"}`)
	ann.wantSilence("bob is still there")
	again := w.open("bob again", nil)
	again.say(`{"type":"hello","resume":"%s","seq":%v}`, welcome.str("resume"), last["seq"])
	again.want(`{"type":"welcome","resumed":true}`)
	for i := range 14 {
		again.want(`{"type":"message","data":%d}`, i)
	}
	again.want(`{"type":"message","data":"mine"}`)
}

// fragment is a masked frame of a client (RFC 6455 §5.2); op is 1 for the first of a
// message, 0 for the others.
func fragment(op byte, text string) []byte {
	return append([]byte{op, masked | byte(len(text)), 0, 0, 0, 0}, text...)
}

// TestFramesOfAMessageAreBounded: a message may be cut up, but not into any number of
// frames, for nothing else counts those.
func TestFramesOfAMessageAreBounded(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{MessageBytes: 4096}})
	c, _ := w.enter("cuts up", `{"type":"hello"}`)
	text := `{"type":"ping","id":"` + strings.Repeat("x", 20) + `"}` + strings.Repeat(" ", 4000)
	var raw []byte
	for i := range text {
		raw = append(raw, fragment(map[bool]byte{true: 1}[i == 0], text[i:i+1])...)
	}
	raw = append(raw, fragment(0x80, "")...)
	for range 3 {
		c.conn.NetConn().Write(raw)
		c.want(`{"type":"pong"}`)
	}
	for why, frames := range map[string][]byte{
		"empty frames without end": append(fragment(1, ""), bytes.Repeat(fragment(0, ""), 10_000)...),
		"one byte too many":        append(fragment(1, ""), bytes.Repeat(fragment(0, "x"), 4097)...),
		"a length of 2^63":         {0x81, masked | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		"a length of 2^62":         {0x81, masked | 127, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
	} {
		c, _ := w.enter(why, `{"type":"hello"}`)
		c.conn.NetConn().Write(frames)
		c.conn.NetConn().SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := c.tryHear(); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("%s: %v", why, err)
		}
	}
}

// TestPongsForWeeks: control frames are no part of a message, however many there were.
func TestPongsForWeeks(t *testing.T) {
	before := controlRate
	t.Cleanup(func() { controlRate = before })
	controlRate = rateLimit{1e6, 1e6}
	w := newWorld(t, Options{Limits: Limits{MessageBytes: 128}})
	c, _ := w.enter("pings", `{"type":"hello"}`)
	for range 500 {
		c.conn.WriteControl(websocket.PingMessage, []byte("0123456789"), time.Now().Add(time.Minute))
		c.conn.WriteControl(websocket.PongMessage, []byte("0123456789"), time.Now().Add(time.Minute))
	}
	c.say(`{"type":"ping"}`)
	c.want(`{"type":"pong"}`)
}

// TestNamesDoNotDeceive: no marks that turn the writing, and what looks the same is the same.
func TestNamesDoNotDeceive(t *testing.T) {
	for name, want := range map[string]bool{
		"Zoë": true, "名前": true, "שלום": true, "🙂": true, "<img src=x onerror=alert(1)>": true, // text, nothing else
		"nn\u202egnp.exe": false, "\u2067a": false, "\u200fa": false, "a\u2028b": false, "a\u061cb": false,
		"a\x00": false, "a\x7f": false, "a\u0085": false, "a\nb": false, strings.Repeat("x", 129): false,
	} {
		_, err := ParseMessage(fmt.Appendf(nil, `{"type":"hello","user":%q}`, name))
		if strings.ContainsAny(name, "\x00\x7f") { // which %q does not write as JSON does
			_, err = ParseMessage([]byte(`{"type":"hello","user":"` + strings.NewReplacer("\x00", `\u0000`, "\x7f", `\u007f`).Replace(name) + `"}`))
		}
		if (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	w := newWorld(t, Options{Auth: tokens{"t": creds.Claims{Room: "Cafe\u0301", Expires: never}}})
	composed, _ := w.enter("composed", `{"type":"hello","token":"t","room":"Caf\u00e9","user":"Zo\u00eb"}`)
	apart, _ := w.enter("apart", `{"type":"hello","token":"t","room":"Cafe\u0301"}`)
	composed.want(`{"event":"join"}`)
	apart.say(`{"type":"message","to":"@Zoe\u0308","data":1}`)
	composed.want(`{"type":"message"}`)
}

// TestNobodySpeaksForAnother: who a message is from the server says, and it reaches nobody
// outside the sender's rooms.
func TestNobodySpeaksForAnother(t *testing.T) {
	w := newWorld(t, Options{})
	ann, a := w.enter("ann", `{"type":"hello","room":"r","user":"ann"}`)
	eve, e := w.enter("eve", `{"type":"hello","room":"r","user":"eve"}`)
	ann.want(`{"event":"join"}`)
	far, f := w.enter("far", `{"type":"hello","room":"other","user":"far"}`)
	eve.say(`{"type":"signal","to":"%[1]s","kind":"offer","from":"%[1]s","user":"ann","peer":"%[1]s"}`, a.str("peer"))
	ann.want(`{"type":"signal","from":"%s","user":"eve"}`, e.str("peer"))
	for _, to := range []string{f.str("peer"), "@far", "#other"} {
		eve.say(`{"type":"message","to":"%s","data":1}`, to)
		eve.want(`{"type":"error"}`)
	}
	far.wantSilence("nothing from another room")
	seen := map[string]bool{}
	for range 1000 {
		id := newPeerID()
		if len(id) != 26 || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
	}
}

// TestForwardedForIsNotBelieved by default: anybody can send that header.
func TestForwardedForIsNotBelieved(t *testing.T) {
	hub := runHub(t, Options{})
	r := &http.Request{RemoteAddr: "192.0.2.1:1234", Header: http.Header{
		"X-Forwarded-For": {"203.0.113.9"}, "Forwarded": {"for=203.0.113.9"}, "X-Real-Ip": {"203.0.113.9"},
	}}
	if a := hub.Address(r); a != "192.0.2.1" {
		t.Errorf("the address is %s", a)
	}
}

// logged is a log in memory.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *logged) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// TestNothingPrivateIsLogged: no token, no description, no address of a candidate, no
// credential, even at debug level.
func TestNothingPrivateIsLogged(t *testing.T) {
	var log logged
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{
			Auth: tokens{"good-token": creds.Claims{Expires: never}}, ICE: &mint{ttl: time.Hour},
			Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		ann, welcome := w.enter("ann", `{"type":"hello","token":"good-token","room":"r"}`)
		bob, _ := w.enter("bob", `{"type":"hello","token":"good-token","room":"r"}`)
		ann.want(`{"event":"join"}`)
		ann.say(`{"type":"signal","to":"#r","kind":"offer","data":"candidate:1 1 udp 1 192.168.7.7 5000 typ host"}`)
		bob.want(`{"type":"signal"}`)
		ann.cut()
		bob.want(`{"event":"away"}`)
		for range 12 {
			c := w.open("guesser", nil)
			c.say(`{"type":"hello","token":"bad-token","resume":"%s"}`, "x"+welcome.str("resume"))
			c.want(`{"type":"error"}`)
			c.cut()
		}
		w.hub.Kick(welcome.str("peer"), "spam")
		bob.want(`{"event":"leave"}`)
		synctest.Wait()
		text := log.b.String()
		if !strings.Contains(text, "session opened") || !strings.Contains(text, "answers are late") {
			t.Errorf("the log has nothing to say: %s", text)
		}
		for _, secret := range []string{"good-token", "bad-token", "192.168.7.7", "password", strings.Split(welcome.str("resume"), ".")[1]} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is logged: %s", secret, text)
			}
		}
	})
}
