package apps

import (
	"testing"

	"rtcd/test/browser"
)

// markup would run, if anybody made markup of it.
const markup = `<img src=x onerror="window.broken=1"><script>window.broken=1</script><b>bold</b>`

// Names, messages, rooms, files and texts of strangers are text.
func TestStrangersAreText(t *testing.T) {
	t.Parallel()
	inBrowsers(t, func(t *testing.T, b *browser.Browser) {
		for _, app := range []string{"chat", "call", "files", "pair"} {
			t.Run(app, func(t *testing.T) {
				t.Parallel()
				strange(t, b, app)
			})
		}
	})
}

func strange(t *testing.T, b *browser.Browser, app string) {
	v := visit{app: app, query: "auto=1&accept=1", name: markup, room: app + " " + markup[:60]}
	pages := []*page{open(t, b, v)}
	if app == "pair" {
		pages[0].wantSoon("the page", `() => rtcdPair.state === "open"`)
		pages[0].eval(&v.link, `() => rtcdPair.link`)
	}
	pages = append(pages, open(t, b, v))
	for _, p := range pages {
		p.wantSoon("the other", `() => (window.rtcdChat ?? window.rtcdCall ?? window.rtcdFiles ?? window.rtcdPair).links.length === 1`)
	}
	pages[0].eval(nil, `async (markup) => {
		if (window.rtcdChat) return rtcdChat.say(markup);
		if (window.rtcdCall) { document.getElementById("talk").click(); return rtcdCall.say(markup); }
		if (window.rtcdFiles) return void await rtcdFiles.send(rtcdFiles.links[0].id, new Blob([markup]), markup);
		rtcdPair.write(markup);
		await rtcdPair.send(new Blob([markup]), markup);
	}`, markup)
	for i, p := range pages {
		if i == 1 && app == "call" {
			p.eval(nil, `() => document.getElementById("talk").click()`)
		}
		if app != "pair" { // where devices have names of their own
			p.wantSoon("the name, as it is", `(markup) => document.getElementById("stage").innerText.includes(markup)`, markup)
		}
		p.wantSoon("what was sent", `(pattern) => new RegExp(pattern, "s").test(document.getElementById("stage").innerText + document.getElementById("text")?.value)`,
			map[string]string{"files": "[<_]img src=x onerror=", "pair": "[<_]img src=x.*[<_]img src=x"}[app]) // a file's name has "_" on the other side
		var made int
		p.eval(&made, `() => document.querySelectorAll("#main img, #main script, #main b:not(#me):not(.file-name b)").length + (window.broken ?? 0)`)
		if made != 0 {
			t.Errorf("page %d made markup of what a stranger sent", i)
		}
	}
}

// Every page keeps to its policy and reports nothing (see open), in both languages and themes, is as narrow as a
// phone, and names each of its controls.
func TestEveryLook(t *testing.T) {
	t.Parallel()
	b := browserIn(t, browser.Chromium, world.alice)
	for _, app := range []string{"chat", "call", "files", "pair"} {
		t.Run(app, func(t *testing.T) {
			t.Parallel()
			name := "A rather long name of somebody"
			lobby := open(t, b, visit{app: app, room: "a-room-with-a-rather-long-name-and-no-space-in-it-at-all", name: name})
			lobby.wantSoon("the lobby", `() => ["lobby", "open"].includes((window.rtcdChat ?? window.rtcdCall ?? window.rtcdFiles ?? window.rtcdPair)?.state)`)
			lobby.wantLooks("lobby")

			v := visit{app: app, query: "auto=1", room: "a-room-with-a-rather-long-name-and-no-space-in-it-at-all 2", name: name}
			p := open(t, b, v)
			if app == "pair" {
				p.wantSoon("the page", `() => rtcdPair.state === "open"`)
				p.eval(&v.link, `() => rtcdPair.link`)
			}
			other := open(t, b, v)
			for _, one := range []*page{p, other} {
				one.wantSoon("the other", `() => (window.rtcdChat ?? window.rtcdCall ?? window.rtcdFiles ?? window.rtcdPair).links.length === 1`)
			}
			other.eval(nil, `async () => {
				const long = "averylongwordwithoutanyspaceinit".repeat(6);
				if (window.rtcdChat) rtcdChat.say(long);
				else if (window.rtcdCall) rtcdCall.say(long);
				else if (window.rtcdFiles) await rtcdFiles.send(rtcdFiles.links[0].id, new Blob(["x"]), long);
				else { rtcdPair.write(long); await rtcdPair.send(new Blob(["x"]), long); }
			}`)
			p.wantSoon("what was sent", `() => (window.rtcdChat ?? window.rtcdCall)?.lines.some((l) => l.kind === "theirs") ??
				(window.rtcdFiles ?? window.rtcdPair).transfers.length === 1`)
			p.wantLooks("open")
			if app == "call" {
				p.eval(nil, `() => document.getElementById("devices").click()`)
				p.wantLooks("the choice of devices")
				p.eval(nil, `() => { document.getElementById("settings").close(); document.getElementById("talk").click(); }`)
				p.wantLooks("with the chat")
			}
			p.eval(nil, `() => (document.getElementById("leave") ?? document.getElementById("hangup")).click()`)
			p.wantSoon("the end", `() => !document.getElementById("over").hidden`)
			p.wantLooks("over")
		})
	}
}

// wantLooks looks at the page wide and narrow, in English by day and in Chinese by night.
func (p *page) wantLooks(when string) {
	p.t.Helper()
	for _, width := range []int{360, 1280} {
		p.resize(width, 720)
		for _, language := range []string{"zh-Hans", "en"} {
			p.eval(nil, `() => { document.getElementById("language").click(); document.getElementById("theme").click(); }`)
			p.wantSoon("the other language", `(lang) => document.documentElement.lang === lang`, language)
			p.wantLook(when, language, width)
		}
	}
}

// wantLook checks that nothing is wider than the page and that every control has a name that the language has words for.
func (p *page) wantLook(when, language string, width int) {
	p.t.Helper()
	var got struct {
		Wide     []string
		Nameless []string
		Pale     []string
	}
	p.eval(&got, `() => {
		for (const a of document.getAnimations()) if (a.effect.getComputedTiming().iterations !== Infinity) a.finish();
		const root = document.documentElement;
		const label = (e) => e.tagName + "#" + e.id + "." + e.className;
		const shown = [...document.body.querySelectorAll("*")].filter((e) => e.checkVisibility() && !e.closest(".hidden-visually, .skip-link, svg"));
		const scrolls = (e) => ["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX);
		const contained = (e) => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) if (scrolls(p)) return true; return false; };
		const wide = root.scrollWidth > root.clientWidth ? [root.scrollWidth + " in " + root.clientWidth] : [];
		for (const e of shown) {
			const box = e.getBoundingClientRect();
			if (!contained(e) && (box.right > root.clientWidth + 1 || box.left < -1)) wide.push(label(e));
		}
		const controls = shown.filter((e) => e.matches("a, button, input, select, textarea, progress, [role=log], [tabindex='0'], dialog"));
		const modal = document.querySelector(":modal"); // the rest is out of reach
		const nameless = controls.filter((e) => !modal || modal.contains(e)).filter((e) => !e.computedName?.trim()).map((e) => label(e) + " is " + e.computedRole);
		return {wide, nameless, pale: paleTexts(shown)};

		// WCAG 2.1 §1.4.3: text stands out from what is behind it by 4.5 to 1, large text by 3 to 1.
		function paleTexts(all) {
			const parse = (c) => { const m = c.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0, 0]; return c.startsWith("rgb") ? [m[0], m[1], m[2], m[3] ?? 1] : null; };
			const luminance = ([r, g, b]) => { const f = (v) => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; return .2126 * f(r) + .7152 * f(g) + .0722 * f(b); };
			const out = [];
			for (const e of all) {
				if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.closest("[disabled], #stage.stage, .preview")) continue;
				const style = getComputedStyle(e);
				const ink = parse(style.color);
				let behind = null;
				for (let p = e; p && !behind; p = p.parentElement) { const c = parse(getComputedStyle(p).backgroundColor); if (!c || c[3] === 1) behind = c ?? "unknown"; }
				if (!ink || !Array.isArray(behind)) continue;
				const [a, b] = [luminance(ink), luminance(behind)].sort((x, y) => y - x);
				const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
				const ratio = (a + .05) / (b + .05);
				if (ratio < (large ? 3 : 4.5)) out.push(label(e) + " " + ratio.toFixed(2));
			}
			return out;
		}
	}`)
	for what, list := range map[string][]string{"too wide": got.Wide, "without a name": got.Nameless, "too pale": got.Pale} {
		if len(list) > 0 {
			p.t.Errorf("%s, %s, %d px: %s: %q", when, language, width, what, list)
		}
	}
}
