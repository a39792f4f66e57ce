package packages

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"rtcd/test/browser"
)

// transcript is what somebody types and sees.
type transcript struct {
	m     *machine
	start time.Time
	text  strings.Builder
}

// types runs a command that must succeed, as if typed. What it prints is kept, shortened
// to its last lines.
func (s *transcript) types(t *testing.T, line string, lines int) string {
	t.Helper()
	out := s.m.sh(t, line)
	shown := strings.Split(out, "\n")
	if n := len(shown) - lines; n > 0 {
		shown = append([]string{fmt.Sprintf("[%d lines]", n)}, shown[n:]...)
	}
	fmt.Fprintf(&s.text, "# %s\n%s\n\n", line, strings.Join(shown, "\n"))
	return out
}

// A new user on a clean machine: install, set up, start, open the check page from another
// machine, green. The time that it takes is told, not judged.
func TestFirstFiveMinutes(t *testing.T) {
	m := boot(t)
	b, err := browser.Open(patient(t), browser.Chromium, world.alice, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	deb := m.put(t, world.deb)
	s := transcript{m: m, start: time.Now()}
	s.types(t, "apt-get install -y ./"+deb, 6)
	s.types(t, "rtcd init --domain "+host, 20)
	s.types(t, "rtcd check", 30)
	s.types(t, "systemctl start rtcd", 10)
	s.types(t, "systemctl status --no-pager --lines=0 rtcd", 12)
	link := s.types(t, "rtcd token --room lobby --link", 3)
	started := time.Since(s.start)
	page := strings.Replace(link, "/apps/call#", "/check?auto=1&lang=en#", 1)
	verdict := check(t, b, page)
	took := time.Since(s.start)
	if verdict.Verdict != "pass" || verdict.Shown != "pass" {
		t.Errorf("the check page says %+v", verdict)
	}
	fmt.Fprintf(&s.text, "In a browser on another machine, behind its warning of the self-signed certificate:\n%s\n\n  %s\n",
		hideToken(page), strings.Join(strings.Fields(verdict.Banner), " "))
	for _, r := range verdict.Rows {
		fmt.Fprintf(&s.text, "  %-5s %s\n", r.State, r.URL)
	}
	t.Logf("%s\nstarted after %.1f s, green after %.1f s", hideToken(s.text.String()), started.Seconds(), took.Seconds())
	if dir := os.Getenv("RTCD_TEST_TRANSCRIPT"); dir != "" {
		writeTranscript(t, filepath.Join(dir, "first-five-minutes.md"), hideToken(s.text.String()), started, took)
	}
}

var tokenPattern = regexp.MustCompile(`token=[\w.-]+`)

// hideToken leaves out what is only good for a day.
func hideToken(s string) string { return tokenPattern.ReplaceAllString(s, "token=…") }

func writeTranscript(t *testing.T, file, text string, started, took time.Duration) {
	t.Helper()
	page := fmt.Sprintf("# The first five minutes\n\n"+
		"A new user on a clean Debian 12 (debootstrap, with its own systemd): what is typed and what is seen.\n"+
		"`make transcript` writes this page; `TestFirstFiveMinutes` in test/packages runs the same with every change.\n"+
		"From the first command to the started service it took %.1f s, to the green page %.1f s, by a machine that types at once.\n\n"+
		"```\n%s```\n", started.Seconds(), took.Seconds(), text)
	if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkResult is what the check page says in window.rtcdCheckResult and in its HTML.
type checkResult struct {
	Verdict, Reason, Detail string
	Rows                    []struct{ URL, State, Reason string }
	Advice                  []string
	Shown                   string // <html data-check>
	Banner                  string // the words in the banner
}

// check opens the check page and waits for its verdict.
func check(t *testing.T, b *browser.Browser, url string) (r checkResult) {
	t.Helper()
	ctx := patient(t)
	page, err := b.NewPage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := page.Navigate(ctx, url); err != nil {
		t.Fatal(err)
	}
	err = page.Eval(ctx, &r, `async () => {
		const deadline = Date.now() + 300000;
		while (!window.rtcdCheckResult) {
			if (Date.now() > deadline) throw new Error("no verdict: " + document.body.innerText);
			await new Promise((next) => setTimeout(next, 100));
		}
		await new Promise((drawn) => requestAnimationFrame(drawn));
		return {...window.rtcdCheckResult, shown: document.documentElement.dataset.check, banner: document.querySelector("#banner").innerText};
	}`)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
