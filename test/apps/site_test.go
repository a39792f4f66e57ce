package apps

import (
	"strings"
	"testing"
	"time"

	"rtcd/test/browser"
)

// siteLink is a page of the site with a token in its fragment.
func siteLink(t *testing.T, path string) string {
	t.Helper()
	_, fragment, _ := strings.Cut(address(t, visit{app: "call", room: t.Name()}), "#")
	return "https://" + host + path + "#" + fragment
}

// The page in front says what runs here, and leads with Tab and Enter into the room of the link, whose token goes along.
func TestLanding(t *testing.T) {
	t.Parallel()
	b := browserIn(t, browser.Chromium, world.alice)
	p := open(t, b, visit{link: siteLink(t, "/")})
	p.wantSoon("the room of the link", `(room) => document.querySelector("#door h2")?.textContent.includes(room)`, t.Name())
	facts := p.text("#facts")
	var urls []string
	p.eval(&urls, `async () => (await (await fetch("/api/v1/info")).json()).turn.urls`)
	for _, fact := range append(urls, "STUN", "TURN · UDP", "TURN · TCP", "TURN · TLS", "49152-65535/udp", "wss://"+host+"/ws") {
		if !strings.Contains(facts, fact) {
			t.Errorf("%s is not among what runs here:\n%s", fact, facts)
		}
	}
	p.wantLooks("with a link")
	p.wantOwnServerOnly()
	p.tabTo(`#door a[href^="/apps/call"]`)
	p.press("Enter")
	p.wantArrival("/apps/call", "#token=")

	p = open(t, b, visit{link: "https://" + host + "/"})
	p.wantSoon("how to get a link", `() => document.querySelector("#door pre code")?.textContent.startsWith("rtcd token --room ")`)
	p.wantLooks("without a link")
}

// The check needs no more than Tab and Enter either, and is as fit for every look before it as after it.
func TestCheckByKeyboard(t *testing.T) {
	t.Parallel()
	p := open(t, browserIn(t, browser.Chromium, world.alice), visit{link: siteLink(t, "/check")})
	p.wantSoon("the page", `() => document.documentElement.dataset.check === "idle"`)
	p.wantLooks("before the check")
	p.tabTo("#run")
	p.press("Enter")
	// Which one is TestCheckPage's business: beside so many other browsers the ways may be slow.
	p.wantSoon("a verdict", `() => ["pass", "warn", "fail"].includes(document.documentElement.dataset.check)`)
	p.eval(nil, `() => { document.getElementById("candidates").open = true; }`)
	p.wantLooks("after the check")
	p.tabTo("#copy")
	p.wantOwnServerOnly()
}

// wantArrival waits until another page has taken the place of this one, and has what is to be in its fragment.
func (p *page) wantArrival(path, fragment string) {
	p.t.Helper()
	ctx, last := patient(p.t), ""
	for !strings.HasPrefix(last, path+fragment) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			p.t.Fatalf("at %s, not at %s", last, path)
		}
		// Between the two pages there is nobody to answer.
		_ = p.tab.Eval(ctx, &last, `() => document.readyState === "complete" ? location.pathname + location.hash : ""`)
	}
}

// wantOwnServerOnly checks that everything the page has loaded came from the server.
func (p *page) wantOwnServerOnly() {
	p.t.Helper()
	var loaded []string
	p.eval(&loaded, `() => performance.getEntriesByType("resource").map((e) => e.name)`)
	if len(loaded) < 5 {
		p.t.Errorf("only %q were loaded", loaded)
	}
	for _, name := range loaded {
		if !strings.HasPrefix(name, "https://"+host+"/") {
			p.t.Errorf("the page loads %s", name)
		}
	}
}
