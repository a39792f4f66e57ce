package test

import (
	"slices"
	"testing"

	"rtcd/test/browser"
)

// checkRow is one URL on the check page.
type checkRow struct {
	URL, Kind, Transport, State, Reason string
	Errors                              []checkError
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
}

// checkResult is what the page says in window.rtcdCheckResult and in its HTML.
type checkResult struct {
	Verdict, Reason, Detail string
	Rows                    []checkRow
	Relay, Path             checkTest
	Advice                  []string
	Shown                   string // <html data-check>
	Banner                  string // the words in the banner
}

// check opens the check page and waits for its verdict.
func check(t *testing.T, b *browser.Browser, server *rtcdServer, name string) checkResult {
	t.Helper()
	page := openPage(t, b, "https://"+hostBoth+"/check?auto=1&lang=en#token="+server.token(t, "check", "tester"))
	var r checkResult
	evaluate(t, page, &r, `async () => {
		const deadline = Date.now() + 150000;
		while (!window.rtcdCheckResult) {
			if (Date.now() > deadline) throw new Error("no verdict: " + document.body.innerText);
			await new Promise((next) => setTimeout(next, 100));
		}
		await new Promise((drawn) => requestAnimationFrame(drawn));
		return {...window.rtcdCheckResult, shown: document.documentElement.dataset.check, banner: document.querySelector("#banner").innerText};
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

func isTurn(row checkRow) bool { return row.Kind == "turn" }

// wantPass checks that a test sent pings and got them back.
func (c checkTest) wantPass(t *testing.T, what string) {
	t.Helper()
	if c.State != "pass" || c.Sent == 0 || len(c.RTTs) == 0 {
		t.Errorf("%s test: %+v; want pass", what, c)
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
	const relayRange = "49152-65535"
	srv4, srv6 := world.server.IP4.String(), world.server.IP6.String()
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
		})
		// The site hands out credentials for a relay that verifies them with another secret.
		t.Run(string(kind)+"/wrong secret", func(t *testing.T) {
			startRTCDOn(t, world.coturn)
			r := check(t, b, startRTCD(t, change{"", settings{"domain": hostOther}}), "wrong-secret")
			r.wantFail(t, "all-auth")
			r.wantRows(t, "fail", []string{"auth"}, []string{"udp", "tcp", "tls"}, isTurn)
			for _, row := range r.Rows {
				answered := slices.ContainsFunc(row.Errors, func(e checkError) bool { return e.Code == 401 && e.Ms < 8000 })
				if isTurn(row) && !answered {
					t.Errorf("%s: %+v; want a 401 before the page's own limit", row.URL, row.Errors)
				}
			}
		})
		t.Run(string(kind)+"/blocked UDP port", func(t *testing.T) {
			server := startRTCD(t)
			firewall(t, "udp dport { 3478, 5349, 443 } drop")
			r := check(t, b, server, "blocked-udp")
			r.wantFail(t, "udp-blocked")
			r.wantRows(t, "fail", []string{"silent-udp"}, []string{"udp"}, func(row checkRow) bool { return row.Transport == "udp" })
			r.wantRows(t, "pass", []string{"ok"}, []string{"tcp", "tls"}, func(row checkRow) bool { return row.Transport != "udp" })
			r.Relay.wantPass(t, "relay")
		})
		t.Run(string(kind)+"/closed relay range", func(t *testing.T) {
			server := startRTCD(t)
			firewall(t, "ip daddr "+srv4+" udp dport "+relayRange+" drop\nip saddr "+srv4+" udp sport "+relayRange+" drop\n"+
				"ip6 daddr "+srv6+" udp dport "+relayRange+" drop\nip6 saddr "+srv6+" udp sport "+relayRange+" drop")
			r := check(t, b, server, "closed-range")
			r.wantFail(t, "range-closed")
			r.wantRows(t, "pass", []string{"ok"}, []string{"udp", "tcp", "tls"}, isTurn)
			r.Relay.wantPass(t, "relay")
			if r.Path.State != "fail" {
				t.Errorf("path test: %+v; want fail", r.Path)
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
