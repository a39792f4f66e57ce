package signaling

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rtcd/creds"
)

// rename gives a member of the play another name.
func (p *play) rename(name, user string) string {
	p.t.Helper()
	out, err := p.tenant.Rename(p.members[name], user, true, nil)
	if err != nil {
		return err.Error()
	}
	return lines(out)
}

func TestRenaming(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob", "cat")
	p.does("ann", `{"type":"join","room":"r"}`)
	p.does("bob", `{"type":"join","room":"r","role":"web","data":1}`)
	p.does("cat", `{"type":"join","room":"other"}`)
	p.want("the room hears the one go and the other come", p.rename("bob", "rob"),
		`ann: {"type":"peer","room":"r","event":"leave","peer":"bob","user":"bob","role":"web","reason":"left"}`,
		`ann: {"type":"peer","room":"r","event":"join","peer":"bob","user":"rob","role":"web","data":1,"polite":false}`)
	p.want("the old name is free", p.rename("cat", "bob"))
	p.want("a name is taken", p.rename("cat", "ann"), `taken: the name "ann" is in use`)
	p.want("the same name again is no change", p.rename("ann", "ann"))
	p.does("ann", `{"type":"signal","to":"@zoe","kind":"offer","wait":1000,"data":2}`)
	p.want("who was waited for has come", p.rename("bob", "zoe"),
		`ann: {"type":"peer","room":"r","event":"leave","peer":"bob","user":"rob","role":"web","reason":"left"}`,
		`ann: {"type":"peer","room":"r","event":"join","peer":"bob","user":"zoe","role":"web","data":1,"polite":false}`,
		`bob: {"type":"signal","from":"ann","user":"ann","kind":"offer","data":2}`)
	p.tenant.Remove(p.members["bob"], ReasonLeft, false, nil)
	p.want("who has left is nobody", p.rename("bob", "bob"), `absent: the member has left`)
	p.members["cat"].owned = "bob"
	p.want("a token's name stays", p.rename("cat", "tom"), `forbidden: the token is for another name`)
}

// TestQuietSeats: a quiet one hears the room, and the room does not hear of it.
func TestQuietSeats(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob")
	sit := func(name string, m Message) string {
		m.Type, m.Room = TypeJoin, "r"
		return lines(p.tenant.Apply(p.now, p.members[name], &m, nil))
	}
	sit("ann", Message{})
	p.want("a quiet one comes", sit("bob", Message{Quiet: true}),
		`bob: {"type":"joined","room":"r","peers":[{"peer":"ann","user":"ann","polite":true}]} +mint`)
	p.want("and is not listed", sit("ann", Message{}), `ann: {"type":"joined","room":"r","peers":[]} +mint`)
	p.want("and gets another name", p.rename("bob", "rob"))
	p.want("and is spoken to", p.does("ann", `{"type":"message","to":"#r","data":1}`),
		`bob: {"type":"message","room":"r","from":"ann","user":"ann","data":1}`)
	p.want("and appears", sit("bob", Message{Role: "chat"}),
		`ann: {"type":"peer","room":"r","event":"join","peer":"bob","user":"rob","role":"chat","polite":false}`,
		`bob: {"type":"joined","room":"r","role":"chat","peers":[{"peer":"ann","user":"ann","polite":true}]} +mint`)
	p.want("and goes", lines(p.tenant.Remove(p.members["bob"], ReasonLeft, false, nil)),
		`ann: {"type":"peer","room":"r","event":"leave","peer":"bob","user":"rob","role":"chat","reason":"left"}`)
	p.enter(&Member{ID: "cat", Perms: permsDefault})
	sit("cat", Message{Quiet: true})
	p.want("a quiet end", lines(p.tenant.Remove(p.members["cat"], ReasonLost, false, nil)))
}

// TestPartnersHearTheEnd of those they met without a common room.
func TestPartnersHearTheEnd(t *testing.T) {
	p := newPlay(t, Rules{Open: true}, "ann", "bob", "cat", "dan")
	p.does("ann", `{"type":"signal","to":"@bob","kind":"offer","data":1}`)
	p.does("bob", `{"type":"signal","to":"@ann","kind":"answer","data":1}`)
	p.does("cat", `{"type":"signal","to":"@bob","kind":"offer","data":1}`)
	p.want("the callee is kicked", lines(p.tenant.Remove(p.members["bob"], ReasonKicked, true, nil)),
		`ann: {"type":"peer","event":"leave","peer":"bob","user":"bob","reason":"kicked"}`,
		`cat: {"type":"peer","event":"leave","peer":"bob","user":"bob","reason":"kicked"}`,
		`bob: +revoke`)
	p.want("once", lines(p.tenant.Remove(p.members["ann"], ReasonLeft, false, nil)))
	p.does("dan", `{"type":"signal","to":"@cat","kind":"offer","data":1}`)
	p.want("a name that is given up is an end too", p.rename("cat", "kit"),
		`dan: {"type":"peer","event":"leave","peer":"cat","user":"cat","reason":"left"}`)
	p.does("dan", `{"type":"join","room":"r"}`)
	p.does("cat", `{"type":"join","room":"r"}`)
	p.does("dan", `{"type":"signal","to":"@kit","kind":"offer","data":1}`)
	p.want("a room tells it by itself", lines(p.tenant.Remove(p.members["dan"], ReasonLeft, false, nil)),
		`cat: {"type":"peer","room":"r","event":"leave","peer":"dan","user":"dan","reason":"left"}`)
}

func TestPartnersAreBounded(t *testing.T) {
	p := newPlay(t, Rules{Open: true}, "hub")
	for i := range maxPartners + 10 {
		name := fmt.Sprint("m", i)
		p.enter(&Member{ID: name, User: name, Perms: permsDefault})
		p.does(name, `{"type":"signal","to":"@hub","kind":"offer","data":1}`)
	}
	if n := len(p.members["hub"].partners); n != maxPartners {
		t.Errorf("%d partners", n)
	}
	if n := len(p.members["m0"].partners); n != 0 {
		t.Errorf("the forgotten remembers %d", n)
	}
}

// TestADialectAsksForCredentials: they are the member's like any others, and end when
// it is put out.
func TestADialectAsksForCredentials(t *testing.T) {
	ice := &mint{ttl: time.Hour}
	w := newWorld(t, Options{ICE: ice})
	open := func(hello Hello) *Session {
		t.Helper()
		s, err := w.hub.Open(hello, newPad())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	direct := open(Hello{Dialect: "x", Tenant: "x", Direct: true, User: "ann"})
	got := direct.ICE()
	if len(got.Servers) != 1 || got.TTL != time.Hour || !strings.HasSuffix(got.Servers[0].Username, ":"+direct.Peer()) {
		t.Errorf("%+v", got)
	}
	if got := open(Hello{Tenant: "y"}).ICE(); len(got.Servers) != 0 {
		t.Errorf("in no room: %+v", got)
	}
	w.hub.Kick(direct.Peer(), "")
	if _, revoked := ice.counts(); revoked != 1 {
		t.Error("a kick left the credentials alive")
	}
	if got := direct.ICE(); len(got.Servers) != 0 {
		t.Errorf("after the end: %+v", got)
	}
}

// TestACrowdHasNoLimit, where the rooms of others have one.
func TestACrowdHasNoLimit(t *testing.T) {
	w := newWorld(t, Options{Limits: Limits{Members: 2}})
	for i := range 5 {
		_, err := w.hub.Open(Hello{Tenant: "lobby", Crowd: true, Join: Message{Room: "r", Quiet: true}}, newPad())
		if err != nil {
			t.Fatal(i, err)
		}
	}
	for i := range 3 {
		_, err := w.hub.Open(Hello{Tenant: "others", Join: Message{Room: "r"}}, newPad())
		if full := err != nil; full != (i == 2) {
			t.Errorf("member %d: %v", i, err)
		}
	}
}

// TestANamelessMemberIsStillWhoItsTokenSays.
func TestANamelessMemberIsStillWhoItsTokenSays(t *testing.T) {
	w := newWorld(t, Options{})
	hello := Hello{Tenant: "x", Nameless: true, Claims: creds.Claims{Name: "ann"}}
	s, err := w.hub.Open(hello, newPad())
	if err != nil || s.member.User != "" {
		t.Fatal(err)
	}
	if err := s.Rename("bob", true); err == nil || err.Code != CodeForbidden {
		t.Errorf("another name: %v", err)
	}
	if err := s.Rename("ann", true); err != nil || s.member.User != "ann" {
		t.Errorf("its own name: %v", err)
	}
	w.hub.Ban(s.Peer(), "", time.Hour)
	if _, err := w.hub.Open(hello, newPad()); err == nil {
		t.Error("a banned name comes back without it")
	}
}

func TestADialectsPages(t *testing.T) {
	w := newWorld(t, Options{Address: func(*http.Request) string { return "192.0.2.1" }})
	r := &http.Request{Host: "rtc.example.com", Header: http.Header{"Origin": {"https://evil.example"}}}
	if w.hub.OriginAllowed(r) {
		t.Error("a foreign page is admitted")
	}
	r.Header.Set("Origin", "https://rtc.example.com")
	if !w.hub.OriginAllowed(r) || w.hub.Address(r) != "192.0.2.1" {
		t.Error("the own page is refused")
	}
}

// slow is a transport that takes nothing until it is let go.
type slow struct {
	goOn   chan struct{} // nil: takes everything
	heard  []*Event      // one Send at a time
	closed atomic.Int32
}

func (s *slow) Send(batch []Frame) error {
	if s.goOn != nil {
		<-s.goOn
	}
	for _, f := range batch {
		s.heard = append(s.heard, f.Event)
	}
	return nil
}

func (s *slow) Close(code int, _ string) { s.closed.Store(int32(code)) }

// TestNobodyPutsAMemberOfADialectOut: with a dialect too one sender has only a share of what
// waits for a slow client, and others still reach it. The answer that a message was not
// taken names none of the sender's requests: a dialect passes it over.
func TestNobodyPutsAMemberOfADialectOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := runHub(t, Options{Limits: Limits{Queue: 16}})
		bob, flooder, cyd := &slow{goOn: make(chan struct{})}, &slow{}, &slow{}
		open := func(name string, at Transport) *Session {
			s, err := hub.Open(Hello{Dialect: "test", Tenant: "test:", Direct: true, User: name}, at)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return s
		}
		open("bob", bob)
		floods, calls := open("flooder", flooder), open("cyd", cyd)
		for i := range 40 {
			floods.Apply(Message{Type: TypeSignal, To: "@bob", Kind: "offer", Data: fmt.Append(nil, i)})
			synctest.Wait()
		}
		calls.Apply(Message{Type: TypeSignal, To: "@bob", Kind: "offer", Data: []byte(`"mine"`)})
		synctest.Wait()
		if code := bob.closed.Load(); code != 0 {
			t.Fatalf("bob is put out: %d", code)
		}
		close(bob.goOn)
		synctest.Wait()
		of := map[string]int{}
		for _, e := range bob.heard {
			of[e.User]++
		}
		if of["flooder"] != 14 || of["cyd"] != 1 {
			t.Errorf("bob hears %v, want 14 of the flooder and 1 of cyd", of)
		}
		refused := 0
		for _, e := range flooder.heard {
			if e.Type == TypeError && e.Code == CodeRate && e.Re == nil {
				refused++
			}
		}
		if refused != 40-14 {
			t.Errorf("the flooder hears of %d messages that were not taken, want %d", refused, 40-14)
		}
	})
}
