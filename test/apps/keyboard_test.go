package apps

import (
	"slices"
	"strings"
	"testing"

	"rtcd/test/browser"
)

// With Tab, Enter and what one types, each application does what it is for: somebody without a mouse is not less welcome.
// In Chromium only: Firefox gives keys to one window at a time, and here are many.
func TestByKeyboard(t *testing.T) {
	t.Parallel()
	b := browserIn(t, browser.Chromium, world.alice)
	for app, use := range map[string]func(t *testing.T, b *browser.Browser){
		"chat": chatByKeyboard, "call": callByKeyboard, "files": filesByKeyboard, "pair": pairByKeyboard,
	} {
		t.Run(app, func(t *testing.T) {
			t.Parallel()
			use(t, b)
		})
	}
}

func chatByKeyboard(t *testing.T, b *browser.Browser) {
	other := open(t, b, visit{app: "chat", query: "auto=1", name: "other"})
	me := open(t, b, visit{app: "chat"})
	me.enterLobby("chat")
	me.tabTo("#name")
	me.eval(nil, `() => document.activeElement.select()`)
	me.press(letters("Ada")...)
	me.press("Enter")
	me.wantSoon("the room, and the field for a message in focus", `() => rtcdChat.links.length === 1 && document.activeElement.id === "text"`)
	me.press(letters("hi")...)
	me.press("Enter")
	other.wantSoon("the message", `() => rtcdChat.lines.some((l) => l.text === "hi" && l.name === "Ada")`)
	me.tabTo("#leave")
	me.press("Enter")
	other.wantSoon("that I left", `() => rtcdChat.links.length === 0`)
	me.tabTo("#again")
	me.press("Enter")
	other.wantSoon("that I am back", `() => rtcdChat.links.length === 1`)
}

func callByKeyboard(t *testing.T, b *browser.Browser) {
	other := open(t, b, visit{app: "call", query: "auto=1", name: "other"})
	me := open(t, b, visit{app: "call", name: "me"})
	me.enterLobby("call")
	me.tabTo("#join")
	me.press("Enter")
	me.wantSoon("the call", `() => rtcdCall.state === "connected"`)
	me.tabTo("#mic")
	me.press("Enter")
	other.wantSoon("that I am muted", `(id) => [...rtcdCall.hub.rooms.values()][0].get(id)?.data?.mic === false`, me.id("rtcdCall"))
	me.tabTo("#talk")
	me.press("Enter")
	me.wantSoon("the field for a message in focus", `() => document.activeElement.id === "text"`)
	me.press(letters("mute")...) // no shortcuts in here
	me.press("Enter")
	other.wantSoon("the message", `() => rtcdCall.lines.some((l) => l.text === "mute")`)
	other.wantSoon("its number on the button", `() => document.querySelector("#talk .unread")?.textContent === "1"`)
	me.tabTo("#hangup")
	me.press("Enter")
	other.wantSoon("that I hung up", `() => rtcdCall.peers.length === 0`)
}

func filesByKeyboard(t *testing.T, b *browser.Browser) {
	other := open(t, b, visit{app: "files", query: "auto=1", name: "other"})
	me := open(t, b, visit{app: "files", name: "me", preload: []string{chooser}})
	me.enterLobby("files")
	me.tabTo("#join")
	me.press("Enter")
	me.wantSoon("the other", `() => rtcdFiles.links.length === 1`)
	me.tabTo("#members .button")
	me.press("Enter")
	other.wantSoon("the offer", `() => document.querySelector("[data-state=offered] .actions") !== null`)
	other.eval(nil, `() => { window.showSaveFilePicker = undefined; delete window.showSaveFilePicker; }`) // into the browser's own store
	other.tabTo("[data-state=offered] .actions .primary")
	other.press("Enter")
	other.wantSoon("the file", `() => rtcdFiles.transfers[0]?.state === "done" && document.querySelector("[data-state=done] a[download]") !== null`)
	other.tabTo("[data-state=done] a[download]")
	other.tabTo("[data-state=done] button")
	other.press("Enter")
	other.wantSoon("an empty list", `() => document.querySelector("#transfers li") === null`)
}

func pairByKeyboard(t *testing.T, b *browser.Browser) {
	me := open(t, b, visit{app: "pair", preload: []string{chooser}})
	me.wantSoon("the code", `() => rtcdPair.state === "open"`)
	var link string
	me.eval(&link, `() => rtcdPair.link`)
	other := open(t, b, visit{link: link})
	me.wantSoon("the other", `() => document.documentElement.dataset.paired === "1"`)
	me.tabTo("#text")
	me.press(letters("hi")...)
	other.wantSoon("the text", `() => rtcdPair.text === "hi"`)
	me.tabTo("#send")
	me.press("Enter")
	other.wantSoon("the file", `() => rtcdPair.transfers[0]?.state === "done"`)
	me.tabTo("#leave")
	me.press("Enter")
	other.wantSoon("that I left", `() => document.documentElement.dataset.paired === "0"`)
}

// chooser answers for the person whom a browser without a head cannot ask for files.
const chooser = `() => {
	const native = HTMLInputElement.prototype.click;
	HTMLInputElement.prototype.click = function () {
		if (this.type !== "file") return native.call(this);
		const chosen = new DataTransfer();
		chosen.items.add(new File(["chosen"], "chosen.txt"));
		this.files = chosen.files;
		this.dispatchEvent(new Event("change"));
	};
}`

// enterLobby waits for the page's lobby.
func (p *page) enterLobby(app string) {
	p.t.Helper()
	p.wantSoon("the lobby", `(app) => (document.documentElement.dataset.app ?? document.documentElement.dataset.call) === "lobby"`, app)
}

// tabTo presses Tab until the element has the focus, which must be visible.
func (p *page) tabTo(selector string) {
	p.t.Helper()
	p.wantSoon(selector, `(selector) => document.querySelector(selector)?.checkVisibility()`, selector)
	var passed []string
	for range 60 {
		p.press("Tab")
		var now struct {
			There, Seen bool
			At          string
		}
		p.eval(&now, `(selector) => {
			const {activeElement: at} = document;
			const {outlineStyle, outlineWidth} = getComputedStyle(at);
			return {there: at.matches(selector), at: at.tagName + "#" + at.id, seen: at === document.body || !document.hasFocus() || (outlineStyle !== "none" && parseFloat(outlineWidth) >= 1)};
		}`, selector)
		if !now.Seen && !slices.Contains(passed, now.At) {
			p.t.Errorf("nothing shows that %s has the focus", now.At)
		}
		if now.There {
			return
		}
		passed = append(passed, now.At)
	}
	p.t.Fatalf("Tab does not lead to %s, but to %s", selector, strings.Join(passed, " "))
}

func letters(text string) []string { return strings.Split(text, "") }
