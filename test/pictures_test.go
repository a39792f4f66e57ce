package test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rtcd/test/browser"
)

// The pictures of the landing page and of the check page, green and red, are made anew in the directory that
// RTCD_TEST_PICTURES names (make pictures); with RTCD_TEST_LOOKS=1 each look of them: by night, in Chinese, on a phone.
func TestPictures(t *testing.T) {
	dir := os.Getenv("RTCD_TEST_PICTURES")
	if dir == "" {
		for _, name := range []string{"check", "check-red", "landing"} {
			info, err := os.Stat(filepath.Join("..", "docs", name+".png"))
			if err != nil || info.Size() > 350_000 {
				t.Errorf("docs/%s.png: %v, at most 350,000 bytes are wanted", name, info)
			}
		}
		return
	}
	b := openBrowser(t, browser.Chromium, world.alice)
	t.Run("check", func(t *testing.T) {
		looks(t, checked(t, b, startRTCD(t)), dir, "check", 1040, 1320)
	})
	t.Run("check-red", func(t *testing.T) {
		server := startRTCD(t)
		firewall(t, "udp dport { 3478, 5349, 443 } drop")
		looks(t, checked(t, b, server), dir, "check-red", 1040, 1320)
	})
}

// The landing page tells how each address fared in the server's test of itself.
func TestLandingTellsTheSelfTest(t *testing.T) {
	b := openBrowser(t, browser.Chromium, world.alice)
	server := startRTCD(t, change{"", settings{"domain": hostBoth, "self_test": "10s"}})
	page := openPage(t, b, "https://"+hostBoth+"/?lang=en#token="+server.token(t, "garden", "Ada"))
	evaluate(t, page, nil, `async () => {
		const info = async () => (await fetch("/api/v1/info")).json();
		while (!(await info()).self_test) await new Promise((next) => setTimeout(next, 300));
		location.reload();
	}`)
	var shown struct {
		States []string
		Facts  string
	}
	evaluate(t, page, &shown, `async () => {
		while (!document.querySelector("[data-state]")) await new Promise((next) => setTimeout(next, 100));
		return {states: [...document.querySelectorAll("[data-state]")].map((e) => e.dataset.state), facts: document.querySelector("#facts").innerText};
	}`)
	if len(shown.States) < 4 || slices.ContainsFunc(shown.States, func(s string) bool { return s != "up" }) || !strings.Contains(shown.Facts, "passed the last self-test") {
		t.Errorf("%+v", shown)
	}
	if dir := os.Getenv("RTCD_TEST_PICTURES"); dir != "" {
		looks(t, page, dir, "landing", 1040, 1500)
	}
}

// checked is the check page with its verdict.
func checked(t *testing.T, b *browser.Browser, server *rtcdServer) *browser.Page {
	t.Helper()
	page := openPage(t, b, "https://"+hostBoth+"/check?auto=1&lang=en#token="+server.token(t, "garden", "Ada"))
	evaluate(t, page, nil, `async () => { while (!window.rtcdCheckResult) await new Promise((next) => setTimeout(next, 100)); }`)
	return page
}

// looks takes the picture, and with RTCD_TEST_LOOKS=1 the others.
func looks(t *testing.T, page *browser.Page, dir, name string, width, height int) {
	t.Helper()
	shoot := func(theme, language, suffix string, width, height int) {
		t.Helper()
		evaluate(t, page, nil, `async (theme, language) => {
			document.documentElement.dataset.theme = theme;
			document.activeElement.blur();
			if (!document.documentElement.lang.startsWith(language)) document.getElementById("language").click();
			while (!document.documentElement.lang.startsWith(language)) await new Promise((next) => setTimeout(next, 50));
			for (const details of document.querySelectorAll("details")) details.open = false;
		}`, theme, language)
		if err := page.Resize(patient(t), width, height); err != nil {
			t.Fatal(err)
		}
		evaluate(t, page, nil, `() => new Promise((drawn) => setTimeout(drawn, 400))`)
		png, err := page.Screenshot(patient(t))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name+suffix+".png"), png, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
	shoot("light", "en", "", width, height)
	if os.Getenv("RTCD_TEST_LOOKS") != "1" {
		return
	}
	shoot("dark", "zh", "-dark-zh", width, height)
	shoot("light", "zh", "-phone-zh", 360, 2400)
	shoot("dark", "en", "-phone-dark", 360, 2400)
}
