package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
	"time"
)

//go:embed static
var embedded embed.FS

// Options of a [Handler]. The zero value serves what is embedded.
type Options struct {
	// Dir serves the files from a directory that is laid out like web/static and
	// reads each anew for each request: for work on the pages.
	Dir string
}

// pages maps an address to the file behind it. Every other file is served
// under its own path, and a file that is a page only under its address.
var pages = map[string]string{
	"/":           "index.html",
	"/check":      "check.html",
	"/apps/call":  "apps/call.html",
	"/apps/chat":  "apps/chat.html",
	"/apps/files": "apps/files.html",
	"/apps/pair":  "apps/pair.html",
}

// notFound is the page for every address that is none.
const notFound = "404.html"

// policy lets a page use what comes from its own origin and nothing else: no
// inline script or style, no foreign host, no frame around it, and no HTML made
// from strings (names and messages of strangers are text).
const policy = "default-src 'self'; base-uri 'none'; form-action 'self'; " +
	"frame-ancestors 'none'; object-src 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

// permissions keeps camera, microphone and screen to ourselves, and switches off
// what no page of ours asks for.
const permissions = "camera=(self), microphone=(self), display-capture=(self), " +
	"fullscreen=(self), picture-in-picture=(self), screen-wake-lock=(self), " +
	"clipboard-write=(self), autoplay=(self), geolocation=(), payment=(), usb=(), " +
	"serial=(), midi=(), browsing-topics=()"

// Handler serves the pages and the SDK. It answers GET and HEAD; every address
// that is not ours is answered by a page with status 404.
func Handler(o Options) http.Handler {
	if o.Dir != "" {
		return &handler{files: os.DirFS(o.Dir), live: true}
	}
	files, err := fs.Sub(embedded, "static")
	if err != nil {
		panic(err) // the directory is named in the embed directive above
	}
	h := &handler{files: files, cache: map[string]*asset{}}
	err = fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		a, err := readAsset(files, name)
		h.cache[name] = a
		return err
	})
	if err != nil {
		panic(err) // embedded files cannot fail to be read
	}
	return h
}

// handler serves files; cache is complete and read-only after birth, or nil when live.
type handler struct {
	files fs.FS
	live  bool
	cache map[string]*asset
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if p := strings.TrimRight(r.URL.Path, "/"); p != r.URL.Path && pages[p] != "" {
		// The browser carries the fragment, and with it the token, over to the new address.
		http.Redirect(w, r, p, http.StatusPermanentRedirect)
		return
	}
	if a := h.lookup(fileFor(r.URL.Path)); a != nil {
		a.serve(w, r)
		return
	}
	a := h.lookup(notFound)
	if a == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", a.contentType)
	w.WriteHeader(http.StatusNotFound)
	if r.Method != http.MethodHead {
		w.Write(a.raw.body)
	}
}

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Permissions-Policy", permissions)
}

// fileFor returns the file behind the address p, "" if it cannot have one.
func fileFor(p string) string {
	if page := pages[p]; page != "" {
		return page
	}
	name := strings.TrimPrefix(p, "/")
	if path.Ext(name) == ".html" || !fs.ValidPath(name) {
		return ""
	}
	return name
}

func (h *handler) lookup(name string) *asset {
	if name == "" || !h.live {
		return h.cache[name]
	}
	a, err := readAsset(h.files, name)
	if err != nil {
		return nil
	}
	return a
}

// asset is one file in every form it is sent in.
type asset struct {
	contentType string
	shared      bool // other origins may load it: the SDK
	raw, gzip   variant
}

// variant is a body and its strong entity tag.
type variant struct {
	body []byte
	etag string
}

func readAsset(files fs.FS, name string) (*asset, error) {
	if info, err := fs.Stat(files, name); err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, errors.New(name + " is a directory")
	}
	body, err := fs.ReadFile(files, name)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	tag := hex.EncodeToString(sum[:8])
	a := &asset{
		contentType: contentType(name),
		shared:      strings.HasPrefix(name, "sdk/"),
		raw:         variant{body, `"` + tag + `"`},
	}
	if small := compress(body); len(small) < len(body) {
		a.gzip = variant{small, `"` + tag + `-gz"`}
	}
	return a, nil
}

func compress(body []byte) []byte {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a valid one
	z.Write(body)                                         // a bytes.Buffer takes everything
	z.Close()
	return b.Bytes()
}

// contentType does not ask the machine's own MIME tables, which differ.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".json", ".webmanifest":
		return "application/json; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".txt", ".md":
		return "text/plain; charset=utf-8"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	v := a.raw
	if a.gzip.body != nil {
		h.Set("Vary", "Accept-Encoding")
		if acceptsGzip(r.Header.Get("Accept-Encoding")) {
			v = a.gzip
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Content-Type", a.contentType)
	// Ask each time and mostly hear 304: after an update no page meets an old script.
	h.Set("Cache-Control", "no-cache")
	h.Set("Etag", v.etag)
	if a.shared {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	} else {
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(v.body))
}

// acceptsGzip reads Accept-Encoding (RFC 9110 §12.5.3) as far as browsers write
// it: gzip named, and not with a weight of zero.
func acceptsGzip(header string) bool {
	for part := range strings.SplitSeq(header, ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			weight = strings.ReplaceAll(weight, " ", "")
			return weight != "q=0" && !strings.HasPrefix(weight, "q=0.000")
		}
	}
	return false
}
