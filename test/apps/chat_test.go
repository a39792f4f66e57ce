package apps

import (
	"fmt"
	"testing"

	"rtcd/test/browser"
)

// Three people in a room, by each way that there is.
func TestChat(t *testing.T) {
	t.Parallel()
	inBrowsers(t, func(t *testing.T, b *browser.Browser) {
		for _, w := range append(relays(), direct, server) {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				chat(t, b, w)
			})
		}
	})
}

func chat(t *testing.T, b *browser.Browser, w way) {
	pages := room(t, b, "chat", 3, w)
	for i, p := range pages {
		p.eval(nil, `(text) => rtcdChat.say(text)`, fmt.Sprintf("line %d ☎", i))
	}
	for i, p := range pages {
		p.wantSoon("all lines, each once", `() => rtcdChat.lines.filter((l) => l.kind === "theirs").length === 2`)
		var lines []struct{ Kind, Name, Text, Proof string }
		p.wantSoon("the proof of arrival", `() => rtcdChat.lines.find((l) => l.kind === "mine").proof === "chat.arrived"`)
		p.eval(&lines, `() => rtcdChat.lines`)
		for _, line := range lines {
			if line.Kind == "theirs" && line.Text != "line "+line.Name[len("member "):]+" ☎" {
				t.Errorf("page %d: %q says %q", i, line.Name, line.Text)
			}
		}
	}
	pages[0].wantEndInSight()
	pages[2].eval(nil, `() => document.getElementById("leave").click()`)
	pages[0].wantSoon("the note that somebody left", `() => rtcdChat.lines.some((l) => l.text === "chat.went" && l.name === "member 2")`)
	pages[0].wantSoon("one link less", `() => rtcdChat.links.length === 1`)
}

// room opens an application n times in a room and waits until each is connected with each by the way.
func room(t *testing.T, b *browser.Browser, app string, n int, w way) []*page {
	t.Helper()
	var pages []*page
	for i := range n {
		pages = append(pages, open(t, b, visit{app: app, query: "auto=1" + w.query, name: fmt.Sprintf("member %d", i)}))
	}
	for _, p := range pages {
		p.wantLinks(n-1, w)
	}
	return pages
}

// wantLinks waits until the page of an application for data has so many links, and all run the way.
func (p *page) wantLinks(n int, w way) {
	p.t.Helper()
	p.wantSoon(fmt.Sprintf("%d links %s %s", n, w.state, w.via), `(n, state, via) => {
		const links = (window.rtcdChat ?? window.rtcdFiles ?? window.rtcdPair)?.links;
		return links?.length === n && links.every(({info}) => info.state === state && (!via || !info.via || info.via === via));
	}`, n, w.state, w.via)
}

// wantEndInSight says more than fits and makes the page lower, as a phone's keyboard does: the newest line stays in sight.
func (p *page) wantEndInSight() {
	p.t.Helper()
	p.eval(nil, `() => { for (let i = 0; i < 30; i++) rtcdChat.say("once more " + i); }`)
	p.resize(390, 420)
	p.wantSoon("the newest line in sight", `() => {
		const log = document.getElementById("log");
		return log.lastChild.getBoundingClientRect().bottom <= log.getBoundingClientRect().bottom + 1;
	}`)
}
