package signaling

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// listen reads on in the background, so that the library answers pings, and passes
// frames on.
func (c *client) listen() chan frame {
	frames := make(chan frame, 100)
	go func() {
		defer close(frames)
		for {
			c.conn.SetReadDeadline(time.Time{})
			var f frame
			if c.conn.ReadJSON(&f) != nil {
				return
			}
			frames <- f
		}
	}()
	return frames
}

func TestNoHelloInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{})
		start := time.Now()
		c := w.open("mute", nil)
		c.wantClosed(CloseUnauthorized)
		if d := time.Since(start); d != 10*time.Second {
			t.Fatalf("closed after %v", d)
		}
	})
}

// TestASocketIsKeptAliveByPongs: pings go out every 25 s; who answers stays, who is
// silent for 60 s is away, and gone 30 s later.
func TestASocketIsKeptAliveByPongs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{})
		alive, _ := w.enter("alive", `{"type":"hello","room":"r"}`)
		dead, _ := w.enter("dead", `{"type":"hello","room":"r"}`)
		alive.want(`{"event":"join"}`)
		pings := 0
		dead.conn.SetPingHandler(func(string) error { pings++; return nil }) // hears, and says nothing
		dead.listen()
		frames := alive.listen()
		start := time.Now()
		for _, want := range []struct {
			event string
			at    time.Duration
		}{{"away", 60 * time.Second}, {"leave", 90 * time.Second}} {
			f := <-frames
			if f["event"] != want.event || time.Since(start) != want.at {
				t.Fatalf("%v after %v, want %s after %v", f, time.Since(start), want.event, want.at)
			}
		}
		synctest.Wait()
		if pings != 2 {
			t.Errorf("%d pings in 60 s", pings)
		}
		time.Sleep(time.Hour)
		alive.say(`{"type":"ping"}`)
		if f := <-frames; f["type"] != TypePong {
			t.Fatalf("alive hears %v", f)
		}
		if n := len(w.hub.Members()); n != 1 {
			t.Fatalf("%d members", n)
		}
	})
}

func TestTheResumeWindow(t *testing.T) {
	for _, c := range []struct {
		gone    time.Duration
		resumed bool
	}{{29 * time.Second, true}, {31 * time.Second, false}} {
		synctest.Test(t, func(t *testing.T) {
			ice := &mint{ttl: time.Hour}
			w := newPipeWorld(t, Options{ICE: ice})
			lost, welcome := w.enter("lost", `{"type":"hello","room":"r"}`)
			lost.cut()
			time.Sleep(c.gone)
			_, again := w.enter("back", `{"type":"hello","room":"r","resume":"`+welcome.str("resume")+`"}`)
			if again["resumed"] != c.resumed || (again.str("peer") == welcome.str("peer")) != c.resumed {
				t.Fatalf("after %v: %v", c.gone, again)
			}
			if _, revoked := ice.counts(); revoked != 0 {
				t.Fatal("a lost socket must not end allocations")
			}
		})
	}
}

func TestAWaitingSignalExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{})
		ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
		ann.say(`{"type":"signal","id":1,"to":"@bob","kind":"ring","wait":10000}`)
		ann.say(`{"type":"signal","id":2,"to":"@bob","kind":"ring","wait":3000}`)
		start := time.Now()
		ann.want(`{"type":"error","re":2,"code":"expired"}`)
		if d := time.Since(start); d != 3*time.Second {
			t.Fatalf("after %v", d)
		}
		bob, _ := w.enter("bob", `{"type":"hello","user":"bob","room":"r"}`)
		bob.want(`{"type":"signal","kind":"ring"}`)
		ann.want(`{"type":"peer","event":"join"}`)
		ann.want(`{"type":"ok","re":1,"n":1}`)
	})
}

// TestCredentialsArePushedAtHalfTime: to who is in a room, and only then.
func TestCredentialsArePushedAtHalfTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ice := &mint{ttl: time.Hour}
		w := newPipeWorld(t, Options{ICE: ice})
		c, welcome := w.enter("c", `{"type":"hello"}`)
		if welcome["ice"] != nil {
			t.Fatalf("credentials before a join: %v", welcome)
		}
		frames := c.listen()
		c.say(`{"type":"ice","id":1}`)
		if f := <-frames; f["code"] != CodeForbidden {
			t.Fatalf("credentials before a join: %v", f)
		}
		time.Sleep(2 * time.Hour)
		c.say(`{"type":"join","room":"r"}`)
		if f := <-frames; f["ice"] == nil {
			t.Fatalf("no credentials: %v", f)
		}
		start := time.Now()
		for i := 1; i <= 3; i++ {
			f := <-frames
			if f["type"] != TypeICE || f["ttl"] != 3600.0 || f["seq"] != nil || time.Since(start) != time.Duration(i)*30*time.Minute {
				t.Fatalf("%v after %v", f, time.Since(start))
			}
		}
		c.say(`{"type":"ice"}`)
		if f := <-frames; f["ttl"] != 3600.0 {
			t.Fatalf("%v", f)
		}
		if minted, _ := ice.counts(); minted != 4 {
			t.Fatalf("minted %d times: asking at once must not mint again", minted)
		}
		time.Sleep(30 * time.Second)
		c.say(`{"type":"ice"}`)
		if f := <-frames; f["ttl"] != 3570.0 {
			t.Fatalf("what is left: %v", f)
		}
		c.say(`{"type":"leave","room":"r"}`)
		time.Sleep(3 * time.Hour)
		if minted, revoked := ice.counts(); minted != 4 || revoked != 1 || len(frames) != 0 {
			t.Fatalf("minted %d, revoked %d, %d frames after the last room", minted, revoked, len(frames))
		}
		c.say(`{"type":"join","room":"r"}`)
		<-frames
		if user := ice.minted[4]; user != ice.revoked[0]+".2" {
			t.Fatalf("%q cannot be used: it is revoked", user)
		}
	})
}

// TestCredentialsOfAMemberAreBounded: neither asking nor leaving and joining gets a member
// credentials without end, and the wait is a minute.
func TestCredentialsOfAMemberAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ice := &mint{ttl: time.Hour}
		w := newPipeWorld(t, Options{ICE: ice})
		c, _ := w.enter("c", `{"type":"hello"}`)
		frames := c.listen()
		ask := func(message string) map[string]any {
			t.Helper()
			c.say("%s", message)
			return <-frames
		}
		join, leave := `{"type":"join","room":"r"}`, `{"type":"leave","room":"r","id":1}`
		for i := range 10 {
			if f := ask(join); f["ice"] == nil {
				t.Fatalf("join %d: %v", i+1, f)
			}
			ask(leave)
		}
		if f := ask(join); f["type"] != TypeError || f["code"] != CodeRate {
			t.Fatalf("the eleventh: %v", f)
		}
		if f := ask(`{"type":"ice"}`); f["code"] != CodeForbidden {
			t.Fatalf("credentials of who is in no room: %v", f)
		}
		time.Sleep(time.Minute)
		if f := ask(join); f["ice"] == nil {
			t.Fatalf("after a minute: %v", f)
		}
		if f := ask(`{"type":"join","room":"s"}`); f["type"] != TypeJoined {
			t.Fatalf("a second room needs no others: %v", f)
		}
		for range 60 {
			if f := ask(`{"type":"ice"}`); f["type"] != TypeICE {
				t.Fatalf("%v", f)
			}
			time.Sleep(10 * time.Second)
		}
		if minted, revoked := ice.counts(); minted > 11+10 || revoked != 10 {
			t.Fatalf("minted %d times, revoked %d: want 11 for joins, 10 in 10 min of asking", minted, revoked)
		}
	})
}

func TestPushedCredentialsWaitForTheAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ice := &mint{ttl: 40 * time.Second}
		w := newPipeWorld(t, Options{ICE: ice})
		c, welcome := w.enter("c", `{"type":"hello","room":"r"}`)
		c.cut()
		time.Sleep(25 * time.Second)
		if minted, _ := ice.counts(); minted != 1 {
			t.Fatalf("minted %d times for nobody", minted)
		}
		c, again := w.enter("c", `{"type":"hello","resume":"`+welcome.str("resume")+`"}`)
		if servers := again["ice"].(map[string]any); servers["ttl"] != 40.0 {
			t.Fatalf("old credentials: %v", servers)
		}
		frames := c.listen()
		start := time.Now()
		if f := <-frames; f["type"] != TypeICE || time.Since(start) != 20*time.Second {
			t.Fatalf("%v after %v", f, time.Since(start))
		}
	})
}

// TestAStuckSocketIsCutByItsWriteDeadline: a client that reads nothing blocks one
// flush for 10 s, and nobody else.
func TestAStuckSocketIsCutByItsWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{})
		ann, _ := w.enter("ann", `{"type":"hello","room":"r"}`)
		w.enter("stuck", `{"type":"hello","room":"r"}`) // on a pipe every write waits for a read
		ann.want(`{"event":"join"}`)
		start := time.Now()
		ann.say(`{"type":"message","id":1,"to":"#r","data":0}`)
		ann.want(`{"type":"ok"}`)
		if d := time.Since(start); d != 0 {
			t.Fatalf("ann waited %v for somebody else", d)
		}
		ann.want(`{"type":"peer","event":"away"}`)
		if d := time.Since(start); d != 10*time.Second {
			t.Fatalf("cut after %v", d)
		}
	})
}

func TestATokenThatExpiresOpensNoMoreRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{Auth: tokens{"t": {Expires: time.Now().Add(time.Minute)}}})
		c, _ := w.enter("c", `{"type":"hello","token":"t","room":"a"}`)
		frames := c.listen()
		time.Sleep(59 * time.Second)
		c.say(`{"type":"join","room":"b"}`)
		if f := <-frames; f["type"] != TypeJoined {
			t.Fatalf("%v", f)
		}
		time.Sleep(time.Second)
		c.say(`{"type":"join","room":"c"}`)
		if f := <-frames; f["code"] != CodeUnauthorized {
			t.Fatalf("%v", f)
		}
		c.say(`{"type":"message","to":"#b","data":0,"echo":true}`)
		if f := <-frames; f["type"] != TypeMessage {
			t.Fatalf("a member stays a member: %v", f)
		}
		late := w.open("late", nil)
		late.say(`{"type":"hello","token":"t"}`)
		late.want(`{"code":"unauthorized"}`)
		late.wantClosed(CloseUnauthorized)
	})
}

// TestClosingIsBounded: a client that never answers a close frame is cut 5 s later.
func TestClosingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newPipeWorld(t, Options{})
		c := w.open("rude", nil)
		c.conn.SetCloseHandler(func(int, string) error { return nil })
		c.say(`{"type":"join","room":"r"}`)
		c.want(`{"code":"bad-type"}`)
		start := time.Now()
		if _, err := c.tryHear(); !websocket.IsCloseError(err, CloseProtocol) {
			t.Fatal(err)
		}
		if _, err := c.conn.NetConn().Read(make([]byte, 1)); err == nil || time.Since(start) != closeGrace {
			t.Fatalf("%v after %v", err, time.Since(start))
		}
	})
}

// TestClosingAMemberIsBounded: the same for one who is in a room, whatever ends it, so that nobody holds the end of the
// process up.
func TestClosingAMemberIsBounded(t *testing.T) {
	for why, end := range map[string]struct {
		by   func(*Hub, string)
		code int
	}{
		"kicked":  {func(h *Hub, peer string) { h.Kick(peer, "") }, CloseForbidden},
		"drained": {func(h *Hub, _ string) { h.Drain(time.Second) }, CloseGoing},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newPipeWorld(t, Options{})
			c, welcome := w.enter("rude", `{"type":"hello","room":"r"}`)
			c.conn.SetCloseHandler(func(int, string) error { return nil })
			time.Sleep(time.Second)
			start := time.Now()
			end.by(w.hub, welcome.str("peer"))
			for {
				if _, err := c.tryHear(); err != nil {
					if !websocket.IsCloseError(err, end.code) {
						t.Fatalf("%s: %v", why, err)
					}
					break
				}
			}
			if _, err := c.conn.NetConn().Read(make([]byte, 1)); err == nil || time.Since(start) != closeGrace {
				t.Fatalf("%s: %v after %v", why, err, time.Since(start))
			}
		})
	}
}

func TestTheAgendaKeepsManyTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		a := newAgenda()
		var log strings.Builder
		names := []string{"c", "a", "d", "b"}
		alarms := map[string]*alarm{}
		for _, name := range names {
			alarms[name] = &alarm{name: name, log: &log}
			alarms[name].slot.item = alarms[name]
		}
		now := time.Now()
		alarms["a"].again = now.Add(5 * time.Second)
		a.set(&alarms["c"].slot, now.Add(3*time.Second))
		a.set(&alarms["d"].slot, now.Add(time.Second))
		go a.run(ctx)
		synctest.Wait()
		a.set(&alarms["a"].slot, now.Add(time.Millisecond))
		a.set(&alarms["b"].slot, now.Add(2*time.Second))
		a.set(&alarms["d"].slot, now.Add(4*time.Second))
		a.sooner(&alarms["b"].slot, now.Add(3*time.Second))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if log.String() != "abcda" {
			t.Fatal(log.String())
		}
		a.set(&alarms["b"].slot, now.Add(time.Hour))
		a.set(&alarms["b"].slot, time.Time{})
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if log.String() != "abcda" {
			t.Fatal("woken after it was taken out")
		}
	})
}

type alarm struct {
	slot
	name  string
	log   *strings.Builder
	again time.Time
}

func (a *alarm) due(time.Time) time.Time {
	a.log.WriteString(a.name)
	next := a.again
	a.again = time.Time{}
	return next
}
