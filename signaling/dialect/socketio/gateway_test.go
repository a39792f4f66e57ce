package socketio

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"rtcd/internal/leak"
	"rtcd/signaling"
	"rtcd/signaling/dialect/socketio/engine"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMain(m *testing.M) { leak.Main(m, "rtcd/signaling") }

// world is a running gateway, spoken to by polling without sockets.
type world struct {
	t       *testing.T
	hub     *signaling.Hub
	gateway *Gateway
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	return newWorldOf(t, signaling.Options{Open: true}, o)
}

func newWorldOf(t *testing.T, hubOptions signaling.Options, o Options) *world {
	t.Helper()
	hub, err := signaling.New(hubOptions)
	if err != nil {
		t.Fatal(err)
	}
	g := New(hub, o)
	run(t, hub.Run)
	run(t, g.Run) // ends before the hub
	return &world{t, hub, g}
}

func run(t *testing.T, service func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- service(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// poller is a client that polls.
type poller struct {
	*world
	query string
}

var sid = regexp.MustCompile(`"sid":"([^"]+)"`)

// client opens a connection; of revision 4, and connected to a namespace.
func (w *world) client() *poller {
	w.t.Helper()
	p := &poller{w, "EIO=4&transport=polling"}
	found := sid.FindStringSubmatch(p.get())
	p.query += "&sid=" + found[1]
	p.post(`40`)
	p.want(`40{"sid":"`)
	return p
}

func (p *poller) get() string {
	rec := httptest.NewRecorder()
	p.gateway.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/socket.io/?"+p.query, nil))
	return rec.Body.String()
}

func (p *poller) post(body string) {
	rec := httptest.NewRecorder()
	p.gateway.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/socket.io/?"+p.query, strings.NewReader(body)))
	if rec.Code != 200 {
		p.t.Errorf("%.100s is answered by %d %s", body, rec.Code, rec.Body)
	}
}

// want polls once.
func (p *poller) want(text string) {
	p.t.Helper()
	synctest.Wait()
	if got := p.get(); !strings.Contains(got, text) {
		p.t.Errorf("heard %.500q, want %.100q in it", got, text)
	}
}

func (w *world) wantMembers(n int, why string) {
	w.t.Helper()
	synctest.Wait()
	if members := w.hub.Members(); len(members) != n {
		w.t.Errorf("%s: %d members %v, want %d", why, len(members), members, n)
	}
}

func TestAClientOfRevision4ThatConnectsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Engine: engine.Options{PingTimeout: time.Hour}})
		p := &poller{w, "EIO=4&transport=polling"}
		p.query += "&sid=" + sid.FindStringSubmatch(p.get())[1]
		time.Sleep(46 * time.Second)
		p.want("2") // the ping of before
		p.want("1")
		w.wantMembers(0, "it was never one")
	})
}

func TestMembersOfADialectAreMembersOfTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		a, b := w.client(), w.client()
		w.wantMembers(2, "who is connected is a member")
		a.post(`42["join","alice"]`)
		b.post(`42["join","bob"]`)
		a.want(`42["user-joined","alice"]`)
		members := w.hub.Members()
		w.wantMembers(2, "a name makes no second one")
		for _, m := range members {
			if m.User == "alice" && !w.hub.Kick(m.Peer, "go") {
				t.Error("the hub does not know alice")
			}
		}
		a.want("41")
		a.want("1")
		b.want(`42["user-left","alice"]`)
		w.wantMembers(1, "alice was kicked")
		b.post(`1`)
		w.wantMembers(0, "bob has left")
	})
}

func TestASlowMemberHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		a, slow, b := w.client(), w.client(), w.client()
		for i, p := range []*poller{a, slow, b} {
			p.post(`42["room",{"room":"r"}]`)
			p.want(fmt.Sprintf(`42["numClients",%d]`, i))
		}
		heard := ""
		for i := 0; i < 1000 && !strings.Contains(heard, "peer-disconnect"); i++ {
			a.post(fmt.Sprintf(`42["msg",%d]`, i))
			synctest.Wait()
			if heard = b.get(); !strings.Contains(heard, fmt.Sprintf(`42["msg",%d]`, i)) {
				t.Fatalf("message %d: b hears %q", i, heard)
			}
		}
		w.wantMembers(2, "one who reads nothing is put out")
	})
}

func TestALobbyHoldsACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Engine: engine.Options{Handshakes: 1000}})
		first := w.client()
		first.post(`42["join","first"]`)
		first.want("first")
		for range 100 { // more than a room has seats
			w.client()
		}
		w.client().post(`42["join","last"]`)
		synctest.Wait()
		if got := first.get(); got != `42["user-joined","last"]` {
			t.Errorf("the first hears %q, want nothing but the one who said its name", got)
		}
	})
}

func TestBrokenClients(t *testing.T) {
	for what, body := range map[string]string{
		"a packet that is none":                 `4x`,
		"an event in a namespace not connected": `42/other,["a"]`,
		"a server's packet":                     `44{"message":"x"}`,
		"no array":                              `42{"a":1}`,
		"text in place of an attachment":        "451-[\"a\",{\"_placeholder\":true,\"num\":0}]\x1e42[\"a\"]",
		"an attachment that nobody announced":   `bAQID`,
		"a placeholder for no attachment":       "451-[\"a\",{\"_placeholder\":true,\"num\":1}]\x1ebAQID",
		"more attachments than anybody needs":   `45100-["a"]`,
		"attachments heavier than one message":  "452-[\"a\",1]\x1eb" + strings.Repeat("AAAA", 180_000) + "\x1eb" + strings.Repeat("AAAA", 180_000),
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{Engine: engine.Options{MaxPayload: 4 << 20}})
			p, other := w.client(), w.client()
			p.post(body)
			p.want("1")
			w.wantMembers(1, what)
			other.post(`42["join","alive"]`)
			other.want("alive")
		})
	}
}

func TestNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		p := w.client()
		for i := range maxSockets - 1 {
			p.post(fmt.Sprintf(`40/n%d,{"any":1}`, i))
			p.want(fmt.Sprintf(`40/n%d,{"sid":"`, i))
		}
		p.post(`40/more,`)
		p.want(`44/more,{"message":"too many namespaces"}`)
		w.wantMembers(maxSockets, "one in each")
		p.post(`41/n0,`)
		w.wantMembers(maxSockets-1, "one is left")

		old := &poller{w, "EIO=3&transport=polling"}
		old.query += "&sid=" + sid.FindStringSubmatch(old.get())[1]
		w.wantMembers(maxSockets, "a client of revision 3 is in the common namespace unasked")
		old.post("6:40/old")
		old.want(`7:40/old,`)
		w.wantMembers(maxSockets, "but leaves it when it wants another")
		old.post(`26:42["chat-message","hello"]`)
		w.wantMembers(maxSockets+1, "and is back when it speaks there")
	})
}

func TestVocabulariesThatAreOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Off: []string{vocabularyP2P, vocabularyPair}})
		p := w.client()
		p.post("42[\"room\",{\"room\":\"r\"}]\x1e42[\"register\",{\"uid\":1,\"type\":0}]\x1e42[\"join\",\"alice\"]")
		synctest.Wait()
		if got := p.get(); got != `42["user-joined","alice"]` {
			t.Errorf("heard %q", got)
		}
	})
}

func TestAddressesAreToldOnlyIfGiven(t *testing.T) {
	for _, given := range [][]string{nil, {"192.0.2.7", "127.0.0.1", "2001:db8::1", "::ffff:192.0.2.8"}} {
		synctest.Test(t, func(t *testing.T) {
			o := Options{Off: []string{vocabularyP2P}, Open: true}
			want := `42["transfile",{}]`
			if given != nil {
				o.Addresses = func() (all []netip.Addr) {
					for _, a := range given {
						all = append(all, netip.MustParseAddr(a))
					}
					return all
				}
				want = `42["ipaddr","192.0.2.7"]` + "\x1e" + `42["ipaddr","192.0.2.8"]` + "\x1e" + want
			}
			w := newWorld(t, o)
			web, app := w.client(), w.client()
			web.post(`42["register",{"uid":1,"type":0}]`)
			app.post(`42["register",{"uid":1,"type":1}]`)
			app.want("syncfrom")
			app.post(`42["ipaddr"]`)
			web.post(`42["transfile",{}]`)
			synctest.Wait()
			if got := app.get(); got != want {
				t.Errorf("given %v: heard %q, want %q", given, got, want)
			}
		})
	}
}

func TestScripts(t *testing.T) {
	w := newWorld(t, Options{Scripts: fstest.MapFS{"socket.io.js": {Data: []byte("io")}}})
	for path, code := range map[string]int{"/socket.io/socket.io.js": 200, "/socket.io/other.js": 404} {
		rec := httptest.NewRecorder()
		w.gateway.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != code {
			t.Errorf("%s: %d, want %d", path, rec.Code, code)
		}
	}
}

func TestShim(t *testing.T) {
	rec := httptest.NewRecorder()
	ServeShim(rec, httptest.NewRequest(http.MethodGet, "/legacy-shim.js", nil))
	if kind := rec.Header().Get("Content-Type"); rec.Code != 200 || !strings.Contains(kind, "javascript") || rec.Body.String() != string(shim) {
		t.Errorf("%d %s", rec.Code, kind)
	}
}

// TestPanicsAreTheHubs: who serves the connections counts their panics.
func TestPanicsAreTheHubs(t *testing.T) {
	registry := prometheus.NewRegistry()
	hub, err := signaling.New(signaling.Options{Open: true, Metrics: registry})
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	func() {
		defer New(hub, Options{}).o.Engine.Guard(func() { ended = true })
		panic("planted")
	}()
	if !ended {
		t.Error("the connection goes on")
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(
		"# HELP rtcd_signaling_panics_total Panics caught in a session's goroutine.\n# TYPE rtcd_signaling_panics_total counter\nrtcd_signaling_panics_total 1\n",
	), "rtcd_signaling_panics_total"); err != nil {
		t.Error(err)
	}
}
