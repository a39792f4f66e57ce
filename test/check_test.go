package test

import (
	"cmp"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rtcd/test/browser"
)

// checkRow is one URL on the check page.
type checkRow struct {
	URL, Kind, Transport, State, Reason string
	Candidates                          []checkCandidate
	Errors                              []checkError
	View                                checkView
}

// checkView is what the server saw of a row or a test, joined with what the browser did.
type checkView struct {
	Code   string
	Values map[string]any
}

// checkCandidate is one that the URL brought, after how many milliseconds.
type checkCandidate struct {
	Type, Protocol, RelayProtocol, Family, Address string
	Port, Ms                                       int
}

// checkError is what the browser reported, after how many milliseconds.
type checkError struct {
	Code int
	Ms   float64
}

// checkTest is one of the tests that send data.
type checkTest struct {
	State, Reason string
	Sent, Lost    int
	RTTs          []float64
	View          checkView
	Mbps          float64
}

// checkResult is what the page says in window.rtcdCheckResult and in its HTML.
type checkResult struct {
	Verdict, Reason, Detail string
	Rows                    []checkRow
	Relay, Path             checkTest
	Advice                  []string
	Credentials             struct {
		Kind       string
		Restricted bool
		TTL        int
	}
	Shown  string // <html data-check>
	Banner string // the words in the banner
	Said   string // those about what the server saw, in the rows and tests
	Seen   []struct{ See string }
	Tests  []string   // the words about the tests that send data
	Table  [][]string // the table of candidates, with its heads
	Report string     // what "copy report" copies
}

// clipboard keeps what a page copies, where a browser without a window has no clipboard.
const clipboard = `() => { if (navigator.clipboard) navigator.clipboard.writeText = async (text) => { window.copied = text; }; }`

// check opens the check page with a token and waits for its verdict.
func check(t *testing.T, b *browser.Browser, server *rtcdServer, name string, preload ...string) checkResult {
	t.Helper()
	return checkWith(t, b, "#token="+server.token(t, "check", "tester"), name, preload...)
}

// checkWith does that with what the link ends with.
func checkWith(t *testing.T, b *browser.Browser, fragment, name string, preload ...string) checkResult {
	t.Helper()
	page := openPage(t, b, "https://"+hostBoth+"/check?auto=1&lang=en"+fragment, append(preload, clipboard)...)
	var r checkResult
	evaluate(t, page, &r, `async () => {
		const deadline = Date.now() + 300000;
		while (!window.rtcdCheckResult) {
			if (Date.now() > deadline) throw new Error("no verdict: " + document.body.innerText);
			await new Promise((next) => setTimeout(next, 100));
		}
		await new Promise((drawn) => requestAnimationFrame(drawn));
		document.querySelector("#copy").click();
		await new Promise((copied) => setTimeout(copied));
		return {...window.rtcdCheckResult, shown: document.documentElement.dataset.check, banner: document.querySelector("#banner").innerText,
			said: [...document.querySelectorAll("[data-view]")].map((e) => e.innerText).join("\n"),
			tests: [...document.querySelectorAll("#tests .test")].map((test) => test.innerText), report: window.copied ?? "",
			table: [...document.querySelectorAll("#table tr")].map((line) => [...line.cells].map((cell) => cell.textContent.replace(/(\d),(\d)/g, "$1$2")))};
	}`)
	picture(patient(t), t, page, "check-"+name+"-"+string(b.Kind))
	if r.Shown != r.Verdict {
		t.Errorf("the page shows %q, its verdict is %q", r.Shown, r.Verdict)
	}
	return r
}

// wantRows checks each row that the filter picks, and that there is one for every transport named.
func (r checkResult) wantRows(t *testing.T, state string, reasons, transports []string, pick func(checkRow) bool) {
	t.Helper()
	var seen []string
	for _, row := range r.Rows {
		if !pick(row) {
			continue
		}
		seen = append(seen, row.Transport)
		if row.State != state || !slices.Contains(reasons, row.Reason) {
			t.Errorf("%s: %s %q %+v; want %s with one of %q", row.URL, row.State, row.Reason, row.Errors, state, reasons)
		}
	}
	for _, tr := range transports {
		if !slices.Contains(seen, tr) {
			t.Errorf("no row over %s that was to be checked", tr)
		}
	}
}

// wantView checks what the server is said to have seen of each row that the filter picks, and that the page says it.
func (r checkResult) wantView(t *testing.T, code string, pick func(checkRow) bool) {
	t.Helper()
	found := false
	for _, row := range r.Rows {
		if !pick(row) {
			continue
		}
		found = true
		if row.View.Code != code {
			t.Errorf("%s: the server's view is %q %v, want %q", row.URL, row.View.Code, row.View.Values, code)
		}
	}
	if !found {
		t.Errorf("no row whose view could be %q", code)
	}
	if r.Verdict == "fail" && r.Said == "" {
		t.Error("the page says nothing of what the server saw")
	}
}

// reminted is a script that changes each credential of a check by the body of an async function of it, as a server
// elsewhere would have made it.
func reminted(change string) string {
	return `() => {
	const native = window.fetch;
	const change = async (s) => {` + change + `};
	window.fetch = async (url, init) => {
		const answer = await native(url, init);
		if (!String(url).endsWith("/api/v1/check")) return answer;
		const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
		const encoder = new TextEncoder();
		let text = "";
		while (!text.includes("\n")) text += (await reader.read()).value;
		const end = text.indexOf("\n"), begun = JSON.parse(text.slice(0, end));
		for (const s of [...begun.iceServers, begun.relay, begun.path]) if (s.username) await change(s);
		return new Response(new ReadableStream({
			start(c) { c.enqueue(encoder.encode(JSON.stringify(begun) + "\n" + text.slice(end + 1))); },
			async pull(c) {
				const {value, done} = await reader.read();
				if (done) c.close();
				else c.enqueue(encoder.encode(value));
			},
			cancel() { reader.cancel(); },
		}), {status: answer.status, headers: answer.headers});
	};
}`
}

// hourAgo mints with the relay's own secret and a clock that is an hour slow.
func hourAgo(secret string) string {
	return reminted(`
		s.username = s.username.replace(/^\d+/, (expires) => expires - 3600);
		const bytes = new TextEncoder();
		const key = await crypto.subtle.importKey("raw", bytes.encode(` + quote(secret) + `), {name: "HMAC", hash: "SHA-1"}, false, ["sign"]);
		const mac = await crypto.subtle.sign("HMAC", key, bytes.encode(s.username));
		s.credential = btoa(String.fromCharCode(...new Uint8Array(mac)));`)
}

func isTurn(row checkRow) bool { return row.Kind == "turn" }

// wantPass checks that a test sent pings and got them back.
func (c checkTest) wantPass(t *testing.T, what string) {
	t.Helper()
	if c.State != "pass" || c.Sent == 0 || len(c.RTTs) == 0 {
		t.Errorf("%s test: %+v; want pass", what, c)
	}
}

// wantCandidates wants of each TURN URL a relayed candidate, reached by the URL's transport, and each candidate in the
// table with its URL, type, protocol, transport, family, address and time, and in the report with the address masked.
func (r checkResult) wantCandidates(t *testing.T) {
	t.Helper()
	lines := [][]string{{"Server", "Type", "Protocol", "Relay over", "Family", "Address", "After"}}
	for _, row := range r.Rows {
		relayed := slices.ContainsFunc(row.Candidates, func(c checkCandidate) bool {
			return c.Type == "relay" && c.Protocol == "udp" && c.RelayProtocol == row.Transport && c.Family != "" && c.Port != 0
		})
		if relayed != isTurn(row) {
			t.Errorf("%s: candidates %+v", row.URL, row.Candidates)
		}
		for _, c := range row.Candidates {
			address := net.JoinHostPort(c.Address, strconv.Itoa(c.Port))
			lines = append(lines, []string{
				row.URL, c.Type, c.Protocol, cmp.Or(c.RelayProtocol, "–"), cmp.Or(c.Family, "–"), address, fmt.Sprintf("%d ms", c.Ms),
			})
			if c.Type == "relay" && strings.Contains(r.Report, c.Address) {
				t.Errorf("the masked report tells %s:\n%s", c.Address, r.Report)
			}
		}
		if !strings.Contains(r.Report, row.URL) {
			t.Errorf("the report says nothing of %s:\n%s", row.URL, r.Report)
		}
	}
	if !slices.EqualFunc(lines, r.Table, slices.Equal) {
		t.Errorf("the table shows %q, want %q", r.Table, lines)
	}
}

func (r checkResult) wantFail(t *testing.T, advice string) {
	t.Helper()
	if r.Verdict != "fail" || !slices.Contains(r.Advice, advice) {
		t.Errorf("verdict %s with advice %q (%s %s); want fail with %q", r.Verdict, r.Advice, r.Reason, r.Detail, advice)
	}
	if r.Banner == "" {
		t.Error("the banner says nothing")
	}
}

func TestCheckPage(t *testing.T) {
	for _, kind := range kinds {
		b := openBrowser(t, kind, world.alice)
		t.Run(string(kind)+"/green", func(t *testing.T) {
			r := check(t, b, startRTCD(t), "green")
			if r.Verdict != "pass" {
				t.Errorf("verdict %s, reason %q %q, advice %q", r.Verdict, r.Reason, r.Detail, r.Advice)
			}
			r.wantRows(t, "pass", []string{"ok"}, []string{"udp", "tcp", "tls"}, isTurn)
			r.wantRows(t, "pass", []string{"ok", "ok-no-nat"}, []string{"udp"}, func(row checkRow) bool { return row.Kind == "stun" })
			r.Relay.wantPass(t, "relay")
			r.Path.wantPass(t, "path")
			r.wantView(t, "allocated", isTurn)
			r.wantView(t, "bound", func(row checkRow) bool { return row.Kind == "stun" })
			if r.Relay.View.Code != "relayed" || r.Path.View.Code != "relayed" {
				t.Errorf("the server's views of the tests: %+v, %+v", r.Relay.View, r.Path.View)
			}
			if n := len(r.Seen); n < 4*len(r.Rows) {
				t.Errorf("the server told of %d things, which is too few", n)
			}
			if r.Relay.Mbps <= 0 {
				t.Errorf("relay test: %v Mbit/s", r.Relay.Mbps)
			}
			r.wantCandidates(t)
		})
		// Without a link, where the configuration lets everybody check: what cannot be tried then says so.
		t.Run(string(kind)+"/open to strangers", func(t *testing.T) {
			startRTCD(t, change{"", settings{"check": "open"}})
			r := checkWith(t, b, "", "open")
			if r.Verdict != "pass" || r.Credentials.Kind != "open" || !r.Credentials.Restricted || r.Credentials.TTL != 60 {
				t.Errorf("verdict %s, reason %q %q, credentials %+v", r.Verdict, r.Reason, r.Detail, r.Credentials)
			}
			r.Relay.wantPass(t, "relay")
			if r.Path.State != "skip" || !slices.Contains(r.Advice, "range-untested") ||
				len(r.Tests) != 2 || !strings.Contains(strings.ToLower(r.Tests[1]), "not tested") {
				t.Errorf("path test: %+v, advice %q, told as %q; want it not tested", r.Path, r.Advice, r.Tests)
			}
		})
		// The site hands out credentials for a relay that verifies them with another secret.
		t.Run(string(kind)+"/wrong secret", func(t *testing.T) {
			startRTCDOn(t, world.coturn)
			r := check(t, b, startRTCD(t, change{"", settings{"domain": hostOther}}), "wrong-secret")
			r.wantFail(t, "elsewhere")
			r.wantView(t, "elsewhere", isTurn) // it answers, and this server sees nothing of it
			r.wantRows(t, "fail", []string{"auth"}, []string{"udp", "tcp", "tls"}, isTurn)
			for _, row := range r.Rows {
				answered := slices.ContainsFunc(row.Errors, func(e checkError) bool { return e.Code == 401 && e.Ms < 8000 })
				if isTurn(row) && !answered {
					t.Errorf("%s: %+v; want a 401 before the page's own limit", row.URL, row.Errors)
				}
			}
		})
		t.Run(string(kind)+"/wrong password", func(t *testing.T) {
			r := check(t, b, startRTCD(t), "wrong-password", reminted(`s.credential = "wrong";`))
			r.wantFail(t, "bad_password")
			r.wantRows(t, "fail", []string{"auth"}, []string{"udp", "tcp", "tls"}, isTurn)
			r.wantView(t, "bad_password", isTurn)
		})
		t.Run(string(kind)+"/expired", func(t *testing.T) {
			server := startRTCD(t)
			r := check(t, b, server, "expired", hourAgo(server.secret(t)))
			r.wantFail(t, "expired")
			r.wantView(t, "expired", isTurn)
			for _, row := range r.Rows {
				if late, _ := row.View.Values["late"].(float64); isTurn(row) && (late < 3530 || late > 4000) {
					t.Errorf("%s: %v s late; want the hour less the minute for which they were minted, and what the check took", row.URL, row.View.Values["late"])
				}
			}
			if !regexp.MustCompile(`had ended 3[5-9]\d\d`).MatchString(r.Said) || !strings.Contains(r.Said, "Clocks") {
				t.Errorf("the page says %q", r.Said)
			}
		})
		t.Run(string(kind)+"/blocked UDP port", func(t *testing.T) {
			server := startRTCD(t)
			firewall(t, "udp dport { 3478, 5349, 443 } drop")
			r := check(t, b, server, "blocked-udp")
			r.wantFail(t, "udp-blocked")
			r.wantView(t, "nothing", func(row checkRow) bool { return row.Transport == "udp" })
			if !strings.Contains(r.Said, "Nothing came from your address") || !strings.Contains(r.Said, "UDP 3478") {
				t.Errorf("the page says %q", r.Said)
			}
			r.wantRows(t, "fail", []string{"silent-udp"}, []string{"udp"}, func(row checkRow) bool { return row.Transport == "udp" })
			r.wantRows(t, "pass", []string{"ok"}, []string{"tcp", "tls"}, func(row checkRow) bool { return row.Transport != "udp" })
			r.Relay.wantPass(t, "relay")
		})
		t.Run(string(kind)+"/closed relay range", func(t *testing.T) {
			server := startRTCD(t)
			firewall(t, closedRange())
			r := check(t, b, server, "closed-range")
			r.wantFail(t, "range-closed")
			if v := r.Path.View; v.Code != "one-way" || v.Values["sent"] == 0.0 || v.Values["received"] != 0.0 {
				t.Errorf("the server's view of the path: %+v; want that it sent and nothing came back", v)
			}
			r.wantRows(t, "pass", []string{"ok"}, []string{"udp", "tcp", "tls"}, isTurn)
			r.Relay.wantPass(t, "relay")
			if r.Path.State != "fail" {
				t.Errorf("path test: %+v; want fail", r.Path)
			}
		})
	}
}

// closedRange are firewall rules that let nothing through to the relay's ports, nor from them.
func closedRange() string {
	const relayRange = "49152-65535"
	srv4, srv6 := world.server.IP4.String(), world.server.IP6.String()
	return "ip daddr " + srv4 + " udp dport " + relayRange + " drop\nip saddr " + srv4 + " udp sport " + relayRange + " drop\n" +
		"ip6 daddr " + srv6 + " udp dport " + relayRange + " drop\nip6 saddr " + srv6 + " udp sport " + relayRange + " drop"
}

// What the server alone can know.
func TestCheckPageKnowsBetter(t *testing.T) {
	b := openBrowser(t, browser.Chromium, world.alice)
	t.Run("answers do not get back", func(t *testing.T) {
		server := startRTCD(t)
		firewall(t, "udp sport { 3478, 443 } drop")
		r := check(t, b, server, "answer-lost")
		r.wantFail(t, "udp-answer-lost")
		r.wantView(t, "answer-lost", func(row checkRow) bool { return row.Transport == "udp" && isTurn(row) })
	})
	t.Run("a denied peer", func(t *testing.T) {
		alice4, alice6 := world.alice.IP4.String()+"/32", world.alice.IP6.String()+"/128"
		deny := change{"turn", settings{"peers": settings{"deny": []string{"recommended", alice4, alice6}}}}
		r := check(t, b, startRTCD(t, deny), "denied-peer")
		r.wantFail(t, "peer-refused")
		r.wantRows(t, "pass", []string{"ok"}, []string{"udp", "tcp", "tls"}, isTurn)
		r.Relay.wantPass(t, "relay")
		if rule, _ := r.Path.View.Values["rule"].(string); rule != "deny "+alice4 && rule != "deny "+alice6 {
			t.Errorf("the server's view of the path: %+v; want the rule that denies %s", r.Path.View, alice4)
		}
	})
}

// pairResult is what one page says of the test between two devices.
type pairResult struct {
	Verdict       string
	Shown, Banner string
	Direct, Relay struct {
		State, Reason string
		RTTs          []float64
		Pair          *struct{ State string }
	}
}

// pairCheck runs the test between two devices, the second of which opens what the first one's code says.
func pairCheck(t *testing.T, server *rtcdServer, first, second *browser.Browser) (results []pairResult) {
	t.Helper()
	page := openPage(t, first, "https://"+hostBoth+"/check?lang=en#token="+server.token(t, "check", "tester"))
	var link string
	evaluate(t, page, &link, `async () => {
		while (!window.rtcdPairLink) await new Promise((next) => setTimeout(next, 50));
		document.querySelector("#start-pair").click();
		while (document.documentElement.dataset.pair !== "waiting") await new Promise((next) => setTimeout(next, 50));
		document.querySelector("#code").scrollIntoView({block: "center"});
		return window.rtcdPairLink;
	}`)
	if code, err := page.ScanQR(patient(t)); err != nil || code != link {
		t.Errorf("the code says %q, %v; want %q", code, err, link)
	}
	for _, p := range []*browser.Page{page, openPage(t, second, link)} {
		var r pairResult
		evaluate(t, p, &r, `async () => {
			const deadline = Date.now() + 240000;
			while (document.documentElement.dataset.pair !== "done") {
				if (Date.now() > deadline) throw new Error("no verdict: " + document.body.innerText);
				await new Promise((next) => setTimeout(next, 100));
			}
			const {verdict, direct, relay} = window.rtcdPairCheck;
			return {verdict, direct, relay, shown: document.querySelector("#pair-tests").innerText, banner: document.querySelector("#pair-state").innerText};
		}`)
		picture(patient(t), t, p, "check-pair-"+r.Verdict+"-"+string(first.Kind))
		results = append(results, r)
	}
	return results
}

// Two devices, in different browsers, try each other directly and over the relay, and both show the same.
func TestCheckPair(t *testing.T) {
	chromium, firefox := openBrowser(t, browser.Chromium, world.alice), openBrowser(t, browser.Firefox, world.bob)
	a, b := world.alice, world.bob
	for _, c := range []struct{ rules, verdict, direct string }{
		{"", "both", "pass"},
		{"ip saddr { " + a.IP4.String() + ", " + b.IP4.String() + " } ip daddr { " + a.IP4.String() + ", " + b.IP4.String() + " } drop\n" +
			"ip6 saddr { " + a.IP6.String() + ", " + b.IP6.String() + " } ip6 daddr { " + a.IP6.String() + ", " + b.IP6.String() + " } drop", "relay-only", "fail"},
	} {
		t.Run(c.verdict, func(t *testing.T) {
			server := startRTCD(t)
			firewall(t, c.rules)
			for i, r := range pairCheck(t, server, chromium, firefox) {
				if r.Verdict != c.verdict || r.Banner == "" || r.Shown == "" {
					t.Errorf("device %d: verdict %q, banner %q, want %q", i, r.Verdict, r.Banner, c.verdict)
				}
				if r.Direct.State != c.direct || r.Direct.State == "pass" && (r.Direct.Pair.State != "direct" || len(r.Direct.RTTs) == 0) {
					t.Errorf("device %d: direct %+v", i, r.Direct)
				}
				if r.Relay.State != "pass" || r.Relay.Pair == nil || r.Relay.Pair.State != "relayed" || len(r.Relay.RTTs) == 0 {
					t.Errorf("device %d: relay %+v", i, r.Relay)
				}
			}
		})
	}
}

// firewall sets the lab's rules until the end of the test.
func firewall(t *testing.T, rules string) {
	t.Helper()
	t.Cleanup(func() {
		if err := world.net.Firewall(""); err != nil {
			t.Error(err)
		}
	})
	if err := world.net.Firewall(rules); err != nil {
		t.Fatal(err)
	}
}
