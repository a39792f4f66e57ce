package signaling

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// play is a tenant without a hub: messages in, deliveries out as lines.
type play struct {
	t       *testing.T
	tenant  *Tenant
	now     time.Time
	members map[string]*Member
}

func newPlay(t *testing.T, rules Rules, names ...string) *play {
	p := &play{t: t, now: time.Unix(1_700_000_000, 0), members: map[string]*Member{}}
	rules.Members = max(rules.Members, 3)
	rules.Rooms = max(rules.Rooms, 3)
	rules.Presence, rules.Keep = 20, 30*time.Second
	p.tenant = NewTenant("test", rules)
	for _, name := range names {
		p.enter(&Member{ID: name, User: name, Perms: permsDefault, Identity: name})
	}
	return p
}

func (p *play) enter(m *Member) {
	p.t.Helper()
	if err := p.tenant.Enter(m, false); err != nil {
		p.t.Fatal(err)
	}
	p.members[m.ID] = m
}

// does applies a message and returns what follows, one line per delivery.
func (p *play) does(name, text string) string {
	p.t.Helper()
	m, err := ParseMessage([]byte(text))
	if err != nil {
		p.t.Fatalf("%s: %v", text, err)
	}
	return lines(p.tenant.Apply(p.now, p.members[name], &m, nil))
}

// tick lets time pass.
func (p *play) tick(d time.Duration) string {
	p.now = p.now.Add(d)
	return lines(p.tenant.Tick(p.now, nil))
}

func lines(out []Delivery) string {
	var b strings.Builder
	for _, d := range out {
		fmt.Fprintf(&b, "%s:", d.To.ID)
		if d.Event != nil {
			fmt.Fprintf(&b, " %s", d.Event.JSON())
		}
		switch d.Effect {
		case EffectMint:
			b.WriteString(" +mint")
		case EffectRevoke:
			b.WriteString(" +revoke")
		case EffectEnd:
			fmt.Fprintf(&b, " +end %d", d.Close)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (p *play) want(why, got string, want ...string) {
	p.t.Helper()
	if w := strings.Join(want, "\n"); strings.TrimSuffix(got, "\n") != w {
		p.t.Fatalf("%s:\n%s\nwant\n%s", why, got, w)
	}
}

func TestRoomsComeAndGo(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob", "cat", "dan")
	p.want("the first is alone", p.does("ann", `{"type":"join","room":"r","limit":2}`),
		`ann: {"type":"joined","room":"r","peers":[]} +mint`)
	p.want("a newcomer yields", p.does("bob", `{"type":"join","room":"r","role":"web","data":1}`),
		`ann: {"type":"peer","room":"r","event":"join","peer":"bob","user":"bob","role":"web","data":1,"polite":false}`,
		`bob: {"type":"joined","room":"r","role":"web","peers":[{"peer":"ann","user":"ann","polite":true}]} +mint`)
	p.want("the limit of the one who made it counts", p.does("cat", `{"type":"join","id":1,"room":"r","limit":3}`),
		`cat: {"type":"error","re":1,"code":"room-full","message":"room \"r\": full (2 members)"}`)
	p.want("joining twice changes nothing", p.does("bob", `{"type":"join","room":"r","role":"web"}`),
		`bob: {"type":"joined","room":"r","role":"web","peers":[{"peer":"ann","user":"ann","polite":true}]} +mint`)
	p.want("or what it says", p.does("bob", `{"type":"join","room":"r","role":"app"}`),
		`ann: {"type":"peer","room":"r","event":"update","peer":"bob","user":"bob","role":"app","data":1}`,
		`bob: {"type":"joined","room":"r","role":"app","peers":[{"peer":"ann","user":"ann","polite":true}]} +mint`)
	p.want("the last room takes the credentials along", p.does("bob", `{"type":"leave","room":"r"}`),
		`ann: {"type":"peer","room":"r","event":"leave","peer":"bob","user":"bob","role":"app","reason":"left"}`,
		`bob: +revoke`)
	p.want("an empty room is no room", p.does("ann", `{"type":"leave","id":"x","room":"r"}`),
		`ann: +revoke`, `ann: {"type":"ok","re":"x","n":1}`)
	if len(p.tenant.rooms) != 0 {
		t.Fatalf("%d rooms left", len(p.tenant.rooms))
	}
	p.want("so the next one sets the limit", p.does("cat", `{"type":"join","room":"r"}`),
		`cat: {"type":"joined","room":"r","peers":[]} +mint`)
}

func TestPolitenessIsOppositeAndStable(t *testing.T) {
	p := newPlay(t, Rules{}, "old", "young")
	p.does("young", `{"type":"join","room":"a"}`)
	p.want("the elder joins later and still does not yield", p.does("old", `{"type":"join","room":"a"}`),
		`young: {"type":"peer","room":"a","event":"join","peer":"old","user":"old","polite":true}`,
		`old: {"type":"joined","room":"a","peers":[{"peer":"young","user":"young","polite":false}]} +mint`)
}

// TestNobodyLearnsOfARoom compares what strangers are told about rooms that are
// full, empty, or not theirs.
func TestNobodyLearnsOfARoom(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob")
	p.enter(&Member{ID: "eve", Opens: "mine", Perms: permsDefault | PermKick, Identity: "eve"})
	p.does("ann", `{"type":"join","room":"full","limit":1}`)
	p.does("bob", `{"type":"join","room":"free"}`)
	answers := map[string]bool{}
	for _, room := range []string{"full", "free", "none"} {
		answers[p.does("eve", `{"type":"join","room":"`+room+`","data":"more than twenty bytes of it"}`)] = true
		answers[strings.ReplaceAll(p.does("eve", `{"type":"join","room":"`+room+`"}`), room, "R")] = true
	}
	if len(answers) != 1 {
		t.Fatalf("different answers: %v", answers)
	}
	clear(answers)
	for _, text := range []string{
		`{"type":"signal","to":"#%s","kind":"k"}`, `{"type":"message","to":"#%s","data":0}`, `{"type":"leave","room":"%s"}`,
		`{"type":"leave","room":"%s","peer":"bob"}`, `{"type":"update","room":"%s","data":1}`,
	} {
		for _, room := range []string{"full", "free", "none"} {
			answers[p.does("eve", fmt.Sprintf(text, room))] = true
		}
	}
	for _, to := range []string{"ann", "bob", "@ann", "@bob", "zed", "@zed"} {
		answers[strings.ReplaceAll(p.does("eve", `{"type":"signal","to":"`+to+`","kind":"k"}`), to, "X")] = true
	}
	if len(answers) != 2 { // no-room and absent
		t.Fatalf("different answers: %v", answers)
	}
}

func TestGuessingRoomsEndsTheSession(t *testing.T) {
	p := newPlay(t, Rules{}, "ann")
	p.enter(&Member{ID: "eve", Opens: "mine", Identity: "eve"})
	for i := range maxRefused {
		got := p.does("eve", fmt.Sprintf(`{"type":"join","room":"r%d"}`, i))
		if ended := strings.Contains(got, "+end 4403"); ended != (i == maxRefused-1) {
			t.Fatalf("guess %d: %s", i, got)
		}
	}
	p.want("nothing more is heard of it", p.does("eve", `{"type":"join","room":"mine"}`))
}

func TestReachingOthers(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob", "cat")
	p.enter(&Member{ID: "bob2", User: "bob", Perms: permsDefault, Identity: "bob2"})
	p.enter(&Member{ID: "mute", Identity: "mute"})
	p.does("ann", `{"type":"join","room":"r","role":"web"}`)
	p.does("bob", `{"type":"join","room":"r","role":"app"}`)
	p.does("bob2", `{"type":"join","room":"r","role":"app"}`)
	p.does("mute", `{"type":"join","room":"x"}`)
	const fromAnn = `{"type":"signal","from":"ann","user":"ann","kind":"k"}`
	for _, c := range []struct{ why, text, want string }{
		{"a peer", `{"type":"signal","to":"bob","kind":"k"}`, "bob: " + fromAnn},
		{"every device of a user", `{"type":"signal","to":"@bob","kind":"k"}`, "bob: " + fromAnn + "\nbob2: " + fromAnn},
		{
			"a role", `{"type":"message","to":"#r/app","data":1}`,
			`bob: {"type":"message","room":"r","from":"ann","user":"ann","data":1}` + "\n" + `bob2: {"type":"message","room":"r","from":"ann","user":"ann","data":1}`,
		},
		{
			"the echo comes last", `{"type":"message","id":1,"to":"bob","data":1,"echo":true}`,
			`bob: {"type":"message","from":"ann","user":"ann","data":1}` + "\n" + `ann: {"type":"message","from":"ann","user":"ann","data":1}` + "\n" + `ann: {"type":"ok","re":1,"n":1}`,
		},
		{
			"no room in common", `{"type":"signal","to":"cat","kind":"k","conn":"c"}`,
			`ann: {"type":"error","code":"absent","message":"nobody fits cat","to":"cat","conn":"c"}`,
		},
		{"a room of others", `{"type":"signal","to":"#x","kind":"k"}`, `ann: {"type":"error","code":"no-room","message":"not in this room"}`},
		{"a role that nobody has", `{"type":"message","to":"#r/tv","data":1}`, `ann: {"type":"error","code":"absent","message":"nobody fits #r/tv","to":"#r/tv"}`},
		{"a role with no name", `{"type":"message","to":"#r/","data":1}`, `ann: {"type":"error","code":"no-room","message":"not in this room"}`},
		{"forged from", `{"type":"signal","to":"bob","kind":"k","from":"cat","user":"cat"}`, "bob: " + fromAnn},
	} {
		p.want(c.why, p.does("ann", c.text), c.want)
	}
	p.want("signals need a permission", p.does("mute", `{"type":"signal","to":"#x","kind":"k"}`),
		`mute: {"type":"error","code":"forbidden","message":"signals need the permission signal"}`)
	p.want("and messages another", p.does("mute", `{"type":"message","to":"#x","data":1}`),
		`mute: {"type":"error","code":"forbidden","message":"messages need the permission message"}`)
}

func TestARoomWithASlash(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob", "cat")
	p.does("bob", `{"type":"join","room":"a/b"}`)
	p.does("cat", `{"type":"join","room":"a","role":"b"}`)
	p.does("ann", `{"type":"join","room":"a"}`)
	p.want("a role, while I am not in the room of that name", p.does("ann", `{"type":"message","to":"#a/b","data":0}`),
		`cat: {"type":"message","room":"a","from":"ann","user":"ann","data":0}`)
	p.does("ann", `{"type":"join","room":"a/b"}`)
	p.want("the room, once I am", p.does("ann", `{"type":"message","to":"#a/b","data":0}`),
		`bob: {"type":"message","room":"a/b","from":"ann","user":"ann","data":0}`)
}

func TestAnOpenTenantNeedsNoRoom(t *testing.T) {
	p := newPlay(t, Rules{Open: true}, "ann", "bob")
	p.want("by name", p.does("ann", `{"type":"signal","to":"@bob","kind":"offer","data":{"sdp":"v=0"}}`),
		`bob: {"type":"signal","from":"ann","user":"ann","kind":"offer","data":{"sdp":"v=0"}}`)
	err := p.tenant.Enter(&Member{ID: "x", User: "bob"}, true)
	if err == nil || err.Code != CodeTaken {
		t.Fatalf("a second exclusive bob: %v", err)
	}
	p.tenant.Remove(p.members["bob"], ReasonLeft, false, nil)
	if err := p.tenant.Enter(&Member{ID: "x", User: "bob"}, true); err != nil {
		t.Fatalf("the name is free again: %v", err)
	}
	if err := p.tenant.Enter(&Member{ID: "y", User: "__proto__"}, true); err != nil {
		t.Fatal(err)
	}
}

func TestWaitingSignals(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob", "cat")
	p.does("ann", `{"type":"join","room":"r"}`)
	p.want("held", p.does("ann", `{"type":"signal","id":1,"to":"@bob","kind":"ring","wait":5000}`))
	p.want("held", p.does("ann", `{"type":"signal","id":2,"to":"#r/app","kind":"ring","wait":8000}`))
	p.want("held", p.does("ann", `{"type":"signal","to":"@cat","conn":"c","kind":"ring","wait":3000}`))
	if due := p.tenant.Due(); !due.Equal(p.now.Add(3 * time.Second)) {
		t.Fatalf("due %v", due)
	}
	p.want("too late", p.tick(3*time.Second), `ann: {"type":"error","code":"expired","message":"nobody fitted @cat in time","to":"@cat","conn":"c"}`)
	p.want("delivered after the joined, answered after the delivery", p.does("bob", `{"type":"join","room":"r"}`),
		`ann: {"type":"peer","room":"r","event":"join","peer":"bob","user":"bob","polite":false}`,
		`bob: {"type":"joined","room":"r","peers":[{"peer":"ann","user":"ann","polite":true}]} +mint`,
		`bob: {"type":"signal","from":"ann","user":"ann","kind":"ring"}`,
		`ann: {"type":"ok","re":1,"n":1}`)
	p.want("a role may come by update", p.does("bob", `{"type":"update","room":"r","role":"app"}`),
		`ann: {"type":"peer","room":"r","event":"update","peer":"bob","user":"bob","role":"app"}`,
		`bob: {"type":"signal","room":"r","from":"ann","user":"ann","kind":"ring"}`,
		`ann: {"type":"ok","re":2,"n":1}`)
	p.want("an empty room can be waited in", p.does("cat", `{"type":"join","room":"s"}`), `cat: {"type":"joined","room":"s","peers":[]} +mint`)
	for range heldPerMember {
		p.want("held", p.does("cat", `{"type":"signal","to":"#s","kind":"k","wait":1000}`))
	}
	p.want("but not without end", p.does("cat", `{"type":"signal","to":"#s","kind":"k","wait":1000}`),
		`cat: {"type":"error","code":"limit","message":"too many signals are waiting"}`)
	p.does("cat", `{"type":"bye"}`)
	p.want("who left waits for nothing", p.tick(time.Hour))
	if !p.tenant.Due().IsZero() {
		t.Fatal("something is still due")
	}
}

func TestAwayAndBack(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob")
	p.does("ann", `{"type":"join","room":"r"}`)
	p.does("bob", `{"type":"join","room":"r"}`)
	bob := p.members["bob"]
	p.want("away", lines(p.tenant.Away(p.now, bob, nil)), `ann: {"type":"peer","room":"r","event":"away","peer":"bob","user":"bob"}`)
	p.want("once", lines(p.tenant.Away(p.now, bob, nil)))
	p.want("it is listed so", p.does("ann", `{"type":"join","room":"r"}`),
		`ann: {"type":"joined","room":"r","peers":[{"peer":"bob","user":"bob","away":true,"polite":false}]} +mint`)
	p.want("and can be reached", p.does("ann", `{"type":"signal","to":"bob","kind":"k"}`), `bob: {"type":"signal","from":"ann","user":"ann","kind":"k"}`)
	p.want("not yet", p.tick(30*time.Second-1))
	p.want("back", lines(p.tenant.Back(bob, nil)), `ann: {"type":"peer","room":"r","event":"back","peer":"bob","user":"bob"}`)
	p.want("nothing runs out", p.tick(time.Hour))
	p.tenant.Away(p.now, bob, nil)
	p.want("gone, with its credentials left to expire", p.tick(30*time.Second),
		`ann: {"type":"peer","room":"r","event":"leave","peer":"bob","user":"bob","reason":"lost"}`, `bob: +end 4410`)
}

func TestPuttingOthersOut(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob")
	p.enter(&Member{ID: "mod", Perms: PermKick, Identity: "mod"})
	for _, name := range []string{"ann", "bob", "mod"} {
		p.does(name, `{"type":"join","room":"r"}`)
	}
	p.want("not everybody may", p.does("ann", `{"type":"leave","room":"r","peer":"bob"}`),
		`ann: {"type":"error","code":"forbidden","message":"putting others out needs the permission kick"}`)
	p.want("nor without being there", p.does("mod", `{"type":"leave","room":"other","peer":"bob"}`),
		`mod: {"type":"error","code":"no-room","message":"not in this room"}`)
	const leave = `{"type":"peer","room":"r","event":"leave","peer":"bob","user":"bob","reason":"banned"}`
	p.want("banned", p.does("mod", `{"type":"leave","room":"r","peer":"bob","ban":60}`),
		"ann: "+leave, "bob: "+leave, "mod: "+leave, "bob: +revoke")
	p.want("a ban looks like no permission", p.does("bob", `{"type":"join","room":"r"}`),
		`bob: {"type":"error","code":"forbidden","message":"this token does not open the room"}`)
	p.enter(&Member{ID: "bob2", User: "robert", Identity: "bob", Perms: permsDefault})
	p.want("another name does not help", p.does("bob2", `{"type":"join","room":"r"}`),
		`bob2: {"type":"error","code":"forbidden","message":"this token does not open the room"}`)
	p.tick(time.Minute)
	if got := p.does("bob", `{"type":"join","room":"r"}`); !strings.Contains(got, "joined") {
		t.Fatalf("the ban is over: %s", got)
	}
}

func TestReplacing(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob")
	p.enter(&Member{ID: "bob2", User: "bob", Identity: "bob2"})
	p.enter(&Member{ID: "any", Perms: PermReplace, Identity: "any"})
	p.does("bob", `{"type":"join","room":"r","role":"web","limit":1}`)
	p.want("not somebody else's", p.does("ann", `{"type":"join","room":"r","role":"web","replace":true}`),
		`ann: {"type":"error","code":"taken","message":"the role \"web\" is somebody else's"}`)
	p.want("my own, also in a full room", p.does("bob2", `{"type":"join","room":"r","role":"web","replace":true}`),
		`bob: {"type":"peer","room":"r","event":"leave","peer":"bob","user":"bob","role":"web","reason":"replaced"}`,
		`bob: +revoke`,
		`bob2: {"type":"joined","room":"r","role":"web","peers":[]} +mint`)
	p.want("the limit stays", p.does("ann", `{"type":"join","room":"r"}`),
		`ann: {"type":"error","code":"room-full","message":"room \"r\": full (1 members)"}`)
	p.want("anybody's with the permission", p.does("any", `{"type":"join","room":"r","role":"web","replace":true}`),
		`bob2: {"type":"peer","room":"r","event":"leave","peer":"bob2","user":"bob","role":"web","reason":"replaced"}`,
		`bob2: +revoke`,
		`any: {"type":"joined","room":"r","role":"web","peers":[]} +mint`)
	if len(p.tenant.rooms) != 1 {
		t.Fatalf("%d rooms", len(p.tenant.rooms))
	}
}

func TestPresenceAndLimits(t *testing.T) {
	p := newPlay(t, Rules{}, "ann", "bob")
	for _, r := range []string{"1", "2", "3"} {
		p.does("ann", `{"type":"join","room":"`+r+`"}`)
		p.does("bob", `{"type":"join","room":"`+r+`"}`)
	}
	p.want("so many rooms", p.does("ann", `{"type":"join","room":"4"}`),
		`ann: {"type":"error","code":"limit","message":"a session can be in 3 rooms"}`)
	p.want("too much", p.does("ann", `{"type":"update","data":"12345678901234567890"}`),
		`ann: {"type":"error","code":"too-big","message":"presence is limited to 20 bytes"}`)
	got := p.does("ann", `{"type":"update","data":null}`)
	if strings.Count(got, `"data":null`) != 3 {
		t.Fatalf("all rooms hear it, null too:\n%s", got)
	}
	p.want("the same again is no news", p.does("ann", `{"type":"update","data":null}`))
	m := &Member{ID: "late", Opens: "", Expires: p.now, Identity: "late"}
	p.enter(m)
	p.want("an expired token opens nothing", p.does("late", `{"type":"join","room":"1"}`),
		`late: {"type":"error","code":"unauthorized","message":"the token has expired"}`)
}
