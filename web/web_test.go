package web

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// get asks h for an address; edit may be nil.
func get(h http.Handler, target string, edit func(*http.Request)) *http.Response {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files returns every file that is served, by its path, with its text.
func files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := fs.WalkDir(embedded, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := embedded.ReadFile(name)
		all[strings.TrimPrefix(name, "static/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAddresses(t *testing.T) {
	h := Handler(Options{})
	tests := []struct {
		target, contentType string
		status              int
	}{
		{"/", "text/html; charset=utf-8", 200},
		{"/check", "text/html; charset=utf-8", 200},
		{"/check?auto=1&lang=zh", "text/html; charset=utf-8", 200},
		{"/apps/call", "text/html; charset=utf-8", 200},
		{"/apps/chat", "text/html; charset=utf-8", 200},
		{"/apps/files?auto=1", "text/html; charset=utf-8", 200},
		{"/apps/pair", "text/html; charset=utf-8", 200},
		{"/apps/pair/", "text/html; charset=utf-8", 308},
		{"/sdk/README.md", "text/plain; charset=utf-8", 200},
		{"/sdk/rtcd.js", "text/javascript; charset=utf-8", 200},
		{"/sdk/check.js", "text/javascript; charset=utf-8", 200},
		{"/assets/base.css", "text/css; charset=utf-8", 200},
		{"/assets/icons.svg", "image/svg+xml", 200},
		{"/i18n/zh.json", "application/json; charset=utf-8", 200},
		{"/robots.txt", "text/plain; charset=utf-8", 200},
		{"/check/", "text/html; charset=utf-8", 308},
		{"/check.html", "text/html; charset=utf-8", 404},
		{"/index.html", "text/html; charset=utf-8", 404},
		{"/assets", "text/html; charset=utf-8", 404},
		{"/assets/", "text/html; charset=utf-8", 404},
		{"/../web.go", "text/html; charset=utf-8", 404},
		{"/nothing", "text/html; charset=utf-8", 404},
	}
	for _, tt := range tests {
		resp := get(h, tt.target, nil)
		if resp.StatusCode != tt.status || resp.Header.Get("Content-Type") != tt.contentType {
			t.Errorf("GET %s: %d %q, want %d %q", tt.target,
				resp.StatusCode, resp.Header.Get("Content-Type"), tt.status, tt.contentType)
		}
	}
}

func TestHeadersOnEveryAnswer(t *testing.T) {
	h := Handler(Options{})
	for _, target := range []string{"/", "/check", "/apps/call", "/sdk/rtcd.js", "/assets/base.css", "/nothing", "/check/"} {
		header := get(h, target, nil).Header
		for key, want := range map[string]string{
			"X-Content-Type-Options":  "nosniff",
			"Referrer-Policy":         "no-referrer",
			"Permissions-Policy":      permissions,
			"Content-Security-Policy": policy,
		} {
			if got := header.Get(key); got != want {
				t.Errorf("GET %s: %s is %q, want %q", target, key, got, want)
			}
		}
	}
}

func TestPolicyIsStrict(t *testing.T) {
	for _, want := range []string{"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("policy lacks %s", want)
		}
	}
	for _, loose := range []string{"unsafe-inline", "unsafe-eval", "*", "data:", "blob:", "http:", "https:"} {
		if strings.Contains(policy, loose) {
			t.Errorf("policy has %s", loose)
		}
	}
}

func TestSDKMayBeLoadedByOthersAndPagesMayNot(t *testing.T) {
	h := Handler(Options{})
	if got := get(h, "/sdk/rtcd.js", nil).Header.Get("Access-Control-Allow-Origin"); got != "*" {
		t.Errorf("SDK: Access-Control-Allow-Origin is %q, want *", got)
	}
	header := get(h, "/assets/call-page.js", nil).Header
	if got := header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("page script: Access-Control-Allow-Origin is %q, want none", got)
	}
	if got := header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" {
		t.Errorf("page script: Cross-Origin-Resource-Policy is %q, want same-origin", got)
	}
}

func TestEntityTags(t *testing.T) {
	h := Handler(Options{})
	for name := range files(t) {
		if path.Ext(name) == ".html" {
			continue
		}
		tag := get(h, "/"+name, nil).Header.Get("Etag")
		if !regexp.MustCompile(`^"[0-9a-f]{16}"$`).MatchString(tag) {
			t.Fatalf("%s: Etag is %q", name, tag)
		}
		again := get(h, "/"+name, func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
		if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
			t.Errorf("%s: asked again with its tag: %d", name, again.StatusCode)
		}
		other := get(h, "/"+name, func(r *http.Request) { r.Header.Set("If-None-Match", `"old"`) })
		if other.StatusCode != http.StatusOK {
			t.Errorf("%s: asked again with an old tag: %d", name, other.StatusCode)
		}
	}
}

func TestCompression(t *testing.T) {
	h := Handler(Options{})
	plain := get(h, "/sdk/hub.js", nil)
	packed := get(h, "/sdk/hub.js", func(r *http.Request) { r.Header.Set("Accept-Encoding", "br;q=1, gzip;q=0.8") })
	refused := get(h, "/sdk/hub.js", func(r *http.Request) { r.Header.Set("Accept-Encoding", "gzip;q=0") })
	if got := packed.Header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding is %q, want gzip", got)
	}
	if got := refused.Header.Get("Content-Encoding"); got != "" {
		t.Errorf("gzip;q=0: Content-Encoding is %q, want none", got)
	}
	if plain.Header.Get("Etag") == packed.Header.Get("Etag") {
		t.Error("two encodings share one strong entity tag (RFC 9110 §8.8.3.3)")
	}
	if !strings.Contains(packed.Header.Get("Vary"), "Accept-Encoding") {
		t.Error("Vary lacks Accept-Encoding")
	}
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil || string(unpacked) != body(t, plain) {
		t.Errorf("unpacked body differs from the plain one (%v)", err)
	}
}

func TestMethods(t *testing.T) {
	h := Handler(Options{})
	head := get(h, "/check", func(r *http.Request) { r.Method = http.MethodHead })
	if head.StatusCode != http.StatusOK || body(t, head) != "" || head.Header.Get("Etag") == "" {
		t.Errorf("HEAD /check: %d, Etag %q", head.StatusCode, head.Header.Get("Etag"))
	}
	missing := get(h, "/nothing", func(r *http.Request) { r.Method = http.MethodHead })
	if missing.StatusCode != http.StatusNotFound || body(t, missing) != "" {
		t.Errorf("HEAD /nothing: %d", missing.StatusCode)
	}
	post := get(h, "/check", func(r *http.Request) { r.Method = http.MethodPost })
	if post.StatusCode != http.StatusMethodNotAllowed || post.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST /check: %d, Allow %q", post.StatusCode, post.Header.Get("Allow"))
	}
}

func TestDirIsReadAnew(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, "check.html"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := Handler(Options{Dir: dir})
	write("first")
	if got := body(t, get(h, "/check", nil)); got != "first" {
		t.Errorf("got %q", got)
	}
	write("second")
	if got := body(t, get(h, "/check", nil)); got != "second" {
		t.Errorf("after a change: got %q", got)
	}
	if resp := get(h, "/apps/call", nil); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", resp.StatusCode)
	}
}

// reference finds what one of our files asks for: attributes, imports, fetches,
// pictures, style sheets.
var reference = regexp.MustCompile(
	`(?:href|src)="([^"#?]+)|from '([^']+)'|import '([^']+)'|` +
		"fetch\\([`']([^`']+)[`']|href: [`']([^`'#?$]+)|url\\(\"?([^\")]+)")

func TestEveryReferenceExists(t *testing.T) {
	h := Handler(Options{})
	for name, text := range files(t) {
		switch path.Ext(name) {
		case ".html", ".js", ".css":
		default:
			continue
		}
		for _, m := range reference.FindAllStringSubmatch(withoutComments(text), -1) {
			target := strings.Join(m[1:], "")
			if strings.HasPrefix(target, "/api/") || strings.Contains(target, "${location.origin}") {
				continue // not ours to serve; the snippet shown on the landing page
			}
			if strings.Contains(target, "${code}") {
				target = strings.ReplaceAll(target, "${code}", "zh")
			}
			if !strings.HasPrefix(target, "/") {
				target = path.Join("/", path.Dir(name), target)
			}
			if resp := get(h, target, nil); resp.StatusCode != http.StatusOK {
				t.Errorf("%s asks for %s: %d", name, target, resp.StatusCode)
			}
		}
	}
}

var comments = regexp.MustCompile(`(?s:/\*.*?\*/)|(?m:^\s*//.*$)`)

func withoutComments(text string) string { return comments.ReplaceAllString(text, "") }

var external = regexp.MustCompile(`(?i)\b(?:https?:|wss?:)?//[a-z0-9[]|["'(]data:`)

// namespaces and texts that look like addresses and are never fetched.
var harmless = []string{"http://www.w3.org/2000/svg"}

func TestNoRequestLeavesTheServer(t *testing.T) {
	for name, text := range files(t) {
		if path.Ext(name) == ".md" {
			continue // for people
		}
		text = withoutComments(text)
		for _, s := range harmless {
			text = strings.ReplaceAll(text, s, "")
		}
		if at := external.FindStringIndex(text); at != nil {
			t.Errorf("%s names another host: …%s…", name, text[at[0]:min(len(text), at[1]+40)])
		}
	}
}

func TestNothingInline(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<style|<script(?:\s[^>]*)?>[^<]|\sstyle="|\son[a-z]+="|javascript:`)
	raw := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`)
	for name, text := range files(t) {
		if path.Ext(name) == ".html" || path.Ext(name) == ".svg" {
			if at := inline.FindString(text); at != "" {
				t.Errorf("%s has something inline: %q", name, at)
			}
		}
		if at := raw.FindString(text); at != "" && path.Ext(name) == ".js" {
			t.Errorf("%s makes markup or code from text: %s", name, at)
		}
	}
}

func dictionary(t *testing.T, language string) map[string]string {
	t.Helper()
	var words map[string]string
	if err := json.Unmarshal([]byte(files(t)["i18n/"+language+".json"]), &words); err != nil {
		t.Fatalf("%s: %v", language, err)
	}
	return words
}

func TestDictionariesAgree(t *testing.T) {
	en, zh := dictionary(t, "en"), dictionary(t, "zh")
	values := regexp.MustCompile(`\{\w+\}`)
	for key, text := range en {
		other, ok := zh[key]
		if !ok {
			t.Errorf("zh lacks %s", key)
			continue
		}
		if text == "" || other == "" {
			t.Errorf("%s is empty", key)
		}
		a, b := values.FindAllString(text, -1), values.FindAllString(other, -1)
		slices.Sort(a)
		slices.Sort(b)
		if !slices.Equal(slices.Compact(a), slices.Compact(b)) {
			t.Errorf("%s: values %v in en, %v in zh", key, a, b)
		}
		if strings.Count(text, "`")%2 != 0 || strings.Count(text, "`") != strings.Count(other, "`") {
			t.Errorf("%s: backticks differ", key)
		}
	}
	for key := range zh {
		if _, ok := en[key]; !ok {
			t.Errorf("en lacks %s", key)
		}
	}
}

var (
	usedKey  = regexp.MustCompile("(?:\\b(?:t|rich|say|fact|remedy|has)\\(|data-t(?:-label|-title|-placeholder)?=)['\"`]([a-z]+[\\w.-]*)['\"`]")
	anyKey   = regexp.MustCompile(`'([a-z][a-z-]*\.[a-z][a-z0-9-]*)'`)
	madeKeys = regexp.MustCompile("`([a-z-]+\\.[a-z-]*)\\$\\{")
)

// TestWordsAreThereAndUsed: no page asks for a word that is missing, and no word is
// left over. Keys put together from parts count by their beginning.
func TestWordsAreThereAndUsed(t *testing.T) {
	en := dictionary(t, "en")
	used := map[string]bool{}
	var prefixes []string
	for name, text := range files(t) {
		if ext := path.Ext(name); ext != ".js" && ext != ".html" {
			continue
		}
		for _, m := range usedKey.FindAllStringSubmatch(withoutComments(text), -1) {
			used[m[1]] = true
			if _, ok := en[m[1]]; !ok {
				t.Errorf("%s uses %q, which no dictionary has", name, m[1])
			}
		}
		for _, m := range anyKey.FindAllStringSubmatch(withoutComments(text), -1) {
			used[m[1]] = true
		}
		for _, m := range madeKeys.FindAllStringSubmatch(withoutComments(text), -1) {
			prefixes = append(prefixes, m[1])
		}
	}
	for key := range en {
		if !used[key] && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(key, p) }) {
			t.Errorf("nobody uses %q", key)
		}
	}
}

// TestEveryReasonHasWords reads the codes that the check can end with from its source.
func TestEveryReasonHasWords(t *testing.T) {
	en, all := dictionary(t, "en"), files(t)
	source := all["sdk/check.js"] + all["sdk/check-relay.js"]
	want := func(pattern string, keys ...string) {
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(source, -1)
		if len(found) == 0 {
			t.Errorf("nothing in the source matches %s", pattern)
		}
		for _, m := range found {
			for _, key := range keys {
				if _, ok := en[key+m[1]]; !ok {
					t.Errorf("no words for %s", key+m[1])
				}
			}
		}
	}
	want(`new Refusal\('([a-z-]+)'`, "stop.", "stop-remedy.")
	want(`(?:'token-expired' : )'([a-z-]+)'`, "stop.", "stop-remedy.")
	want(`reason: '([a-z0-9-]+)'`, "reason.", "remedy.")
	want(`\d{3}: '([a-z]+)'`, "reason.", "remedy.")
	want(`advice\.push\('([a-z-]+)'`, "advice.")
	for _, transport := range []string{"udp", "tcp", "tls"} {
		for _, key := range []string{"reason.silent-", "remedy.silent-", "kind.turn-"} {
			if _, ok := en[key+transport]; !ok {
				t.Errorf("no words for %s%s", key, transport)
			}
		}
	}
}
