package apps

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtcd/test/browser"
	"rtcd/test/lab"
)

// page is one page of an application, as its test drives it.
type page struct {
	t    *testing.T
	tab  *browser.Page
	node *lab.Node // where its lines are cut, for tests that do
}

// visit is what a page is opened with.
type visit struct {
	app     string   // call, chat, files, pair
	query   string   // the hooks for tests, without the ?
	room    string   // default: the test's name
	name    string   // in the token; "" leaves it to the page
	link    string   // instead of all of these: a whole address
	preload []string // scripts that run before those of the page
}

// reports keeps what a page complains about.
const reports = `() => {
	const seen = window.rtcdReports = [];
	addEventListener("error", (e) => seen.push("error: " + (e.message ?? "cannot load " + (e.target?.src ?? e.target?.href))), true);
	addEventListener("unhandledrejection", (e) => seen.push("rejection: " + (e.reason?.stack ?? e.reason)));
	addEventListener("securitypolicyviolation", (e) => seen.push("policy: " + e.violatedDirective + " " + e.blockedURI + " " + e.sample));
	for (const level of ["error", "warn"]) {
		const native = console[level];
		console[level] = (...words) => { seen.push(level + ": " + words.join(" ")); native.apply(console, words); };
	}
}`

// open loads a page in a tab of its own, which is closed at the end of the test, when it must have had nothing to report.
func open(t *testing.T, b *browser.Browser, v visit) *page {
	t.Helper()
	ctx := patient(t)
	tab, err := b.NewPage(ctx, append([]string{reports}, v.preload...)...)
	if err != nil {
		t.Fatal(err)
	}
	p := &page{t: t, tab: tab}
	t.Cleanup(p.close)
	if v.link == "" {
		v.link = address(t, v)
	}
	if err := tab.Navigate(ctx, inEnglish(t, v.link)); err != nil {
		t.Fatal(err)
	}
	return p
}

// inEnglish asks for the language, because the pages of a browser share what was chosen last.
func inEnglish(t *testing.T, link string) string {
	t.Helper()
	u, err := url.Parse(link)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("lang", "en")
	u.RawQuery = query.Encode()
	return u.String()
}

// address is the link with a token of its own.
func address(t *testing.T, v visit) string {
	t.Helper()
	if v.room == "" {
		v.room = t.Name()
	}
	args := []string{"token", "--config", world.config, "--room", v.room}
	if v.name != "" {
		args = append(args, "--name", v.name)
	}
	token, err := world.server.Command(patient(t), world.program, args...).Output()
	if err != nil {
		t.Fatalf("rtcd token: %v", err)
	}
	return (&url.URL{Scheme: "https", Host: host, Path: "/apps/" + v.app, RawQuery: v.query}).String() +
		"#token=" + strings.TrimSpace(string(token))
}

// close is called when the test's own context has ended.
func (p *page) close() {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var seen []string
	if err := p.tab.Eval(ctx, &seen, `() => window.rtcdReports ?? []`); err != nil {
		p.t.Error(err)
	}
	for _, report := range seen {
		p.t.Errorf("the page reports %s", report)
	}
	if dir := os.Getenv("RTCD_TEST_SCREENSHOTS"); dir != "" && p.t.Failed() {
		if png, err := p.tab.Screenshot(ctx); err == nil {
			err = os.WriteFile(filepath.Join(dir, "failed-"+strings.ReplaceAll(p.t.Name(), "/", "-")+".png"), png, 0o644)
			p.t.Log("screenshot:", err)
		}
	}
	if err := p.tab.Close(ctx); err != nil {
		p.t.Error(err)
	}
}

// eval calls a function in the page.
func (p *page) eval(out any, function string, args ...any) {
	p.t.Helper()
	if err := p.tab.Eval(patient(p.t), out, function, args...); err != nil {
		p.t.Fatal(err)
	}
}

// wantSoon waits until the function yields something true. It runs again and again.
func (p *page) wantSoon(what, function string, args ...any) {
	p.t.Helper()
	err := p.tab.Eval(patient(p.t), nil, `async (...args) => {
		const test = `+function+`;
		const deadline = Date.now() + 240000;
		while (!await test(...args)) {
			if (Date.now() > deadline) {
				const app = window.rtcdCall ?? window.rtcdChat ?? window.rtcdFiles ?? window.rtcdPair;
				throw new Error("never: " + JSON.stringify({page: {...document.documentElement.dataset}, paths: app?.links?.map((l) => l.path),
					transfers: app?.transfers?.map?.((t) => [t.direction, t.state, t.at, t.reason]),
					pcs: [...app?.call?.peers.values() ?? []].map(({pc}) => [pc.iceGatheringState, pc.iceConnectionState, pc.connectionState])}));
			}
			await new Promise((next) => setTimeout(next, 50));
		}
	}`, args...)
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

// press presses keys.
func (p *page) press(keys ...string) {
	p.t.Helper()
	if err := p.tab.Press(patient(p.t), keys...); err != nil {
		p.t.Fatal(err)
	}
}

// resize changes the viewport.
func (p *page) resize(width, height int) {
	p.t.Helper()
	if err := p.tab.Resize(patient(p.t), width, height); err != nil {
		p.t.Fatal(err)
	}
}

// text is the text of an element, as it is shown.
func (p *page) text(selector string) string {
	p.t.Helper()
	var text string
	p.eval(&text, `(selector) => document.querySelector(selector)?.innerText ?? ""`, selector)
	return text
}

// way is how two pages come together.
type way struct {
	name, query string
	state       string // of the badge: direct, relayed, server
	via         string // of a relayed one
}

var (
	direct = way{name: "direct", state: "direct"}
	relay  = way{name: "relay", query: "&relay=1", state: "relayed"}
	server = way{name: "server", query: "&server=1", state: "server"}
)

// relays are the ways through the relay: whichever the browser takes, in the long form each of them.
func relays() []way {
	ways := []way{relay}
	if long {
		for _, via := range []string{"udp", "tcp", "tls"} {
			ways = append(ways, way{name: via, query: "&relay=1&via=" + via, state: "relayed", via: via})
		}
	}
	return ways
}

// id is the page's member on the hub.
func (p *page) id(app string) string {
	p.t.Helper()
	var id string
	p.eval(&id, `(app) => window[app].hub.peer`, app)
	return id
}

// quote is a string as a JavaScript literal.
func quote(s string) string {
	b, _ := json.Marshal(s) // a string always marshals
	return string(b)
}
