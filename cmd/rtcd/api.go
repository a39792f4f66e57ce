package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/diagnosis"
	"rtcd/signaling"
)

// api answers the HTTP contract besides pages and hub. Its fields do not change.
type api struct {
	minter  *minter
	tokens  verifier
	keys    [][32]byte // SHA-256 of each API key
	origins []config.Origin
	open    bool // credentials for the check page without a token
	info    info

	// penalize holds the answer to a token or key that is worth nothing back where many
	// were, or returns false: too many wait; see signaling.Hub.
	penalize func(r *http.Request) bool
	bars     func(c creds.Claims, address string) bool // who is banned; see signaling.Hub
	tested   func() *infoSelfTest
	desk     *diagnosis.Desk
	address  func(*http.Request) string // of the client
	outcomes *outcomes
}

// info is what GET /api/v1/info tells everybody: nothing secret.
type info struct {
	Name    string        `json:"name"`
	Version string        `json:"version"`
	Auth    config.Auth   `json:"auth"`
	Check   config.Access `json:"check"`
	Turn    turnInfo      `json:"turn"`
	TLS     bool          `json:"tls"`

	SelfTest *infoSelfTest `json:"self_test,omitempty"`
}

type turnInfo struct {
	URLs       []string `json:"urls"`
	Realm      string   `json:"realm"`
	RelayPorts string   `json:"relay_ports"`
}

func newAPI(c *config.Loaded, m *minter, tokens verifier, penalize func(*http.Request) bool, tested func() *infoSelfTest, desk *diagnosis.Desk) *api {
	a := &api{
		desk: desk, address: clientAddress(c.Listen.TrustedProxies), penalize: penalize,
		bars:   func(creds.Claims, string) bool { return false },
		minter: m, tokens: tokens, tested: tested, origins: c.Signaling.Origins,
		open: c.Check == config.AccessOpen || c.Signaling.Auth == config.AuthNone,
		info: info{
			Name: "rtcd", Version: versionString(), Auth: c.Signaling.Auth, Check: c.Check,
			Turn: turnInfo{URLs: m.advertised, Realm: realm(c), RelayPorts: c.Turn.RelayPorts.String()},
			TLS:  c.TLSMode() != config.TLSOff,
		},
	}
	for _, key := range c.Turn.APIKeys {
		a.keys = append(a.keys, sha256.Sum256([]byte(key)))
	}
	return a
}

// routes is the whole public site.
func (a *api) routes(hub http.Handler, d *dialects, pages http.Handler) http.Handler {
	mux := http.NewServeMux()
	d.route(mux, pages)
	mux.Handle("/ws", hub)
	mux.HandleFunc("GET /api/v1/info", a.serveInfo)
	mux.HandleFunc("GET /api/v1/ice-servers", a.serveICE)
	mux.HandleFunc("POST /api/v1/check", a.serveCheck)
	mux.HandleFunc("POST /api/v1/ice-outcomes", a.serveOutcome)
	mux.HandleFunc("OPTIONS /api/v1/", a.serveOptions)
	if len(a.keys) > 0 {
		for _, path := range restPaths {
			mux.HandleFunc("GET "+path, a.serveREST)
			mux.HandleFunc("POST "+path, a.serveREST)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if websocket.IsWebSocketUpgrade(r) && slices.Contains(websocket.Subprotocols(r), signaling.Subprotocol) {
			hub.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (a *api) serveInfo(w http.ResponseWriter, r *http.Request) {
	a.allowOrigin(w, r)
	info := a.info
	info.SelfTest = a.tested()
	writeJSON(w, http.StatusOK, info)
}

// serveICE mints credentials for the bearer of a join token or an API key; where
// the check page is open, also for anybody, but then they only reach this relay.
func (a *api) serveICE(w http.ResponseWriter, r *http.Request) {
	a.allowOrigin(w, r)
	secret := bearerOf(r)
	shape := shapeICE
	b, ok := a.bearer(secret, r.URL.Query().Get("username"))
	if !ok && a.open && secret == "" {
		shape, b, ok = shapeCheck, bearer{user: creds.PrefixCheck + rand.Text()[:12], ttl: creds.CheckTTL}, true
	}
	if !ok {
		if a.isGuess(w, r, secret) {
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="rtcd"`)
		refuse(w, http.StatusUnauthorized, "unauthorized", "a join token or an API key is needed, as Bearer")
		return
	}
	if a.isBarred(w, r, b) {
		return
	}
	a.minter.issue(shape)
	c, servers := a.minter.mint(b.user, b.ttl)
	writeJSON(w, http.StatusOK, map[string]any{
		"iceServers": servers.Servers,
		"ttl":        int(servers.TTL.Seconds()),
		"expiresAt":  c.Expires.UTC().Format(time.RFC3339),
	})
}

// isGuess holds the answer to a secret that is worth nothing back, and says whether it has
// answered that there are too many. Who sends none does not guess.
func (a *api) isGuess(w http.ResponseWriter, r *http.Request, secret string) bool {
	if secret == "" || a.isKey(secret) || a.penalize(r) {
		return false
	}
	w.Header().Set("Retry-After", "60")
	refuse(w, http.StatusTooManyRequests, "rate", "too many tokens or keys from your address were not valid")
	return true
}

// bearerOf is the token or key that a request carries (RFC 6750), "" for none.
func bearerOf(r *http.Request) string {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(secret)
}

// bearer is for whom credentials are minted. The holder of an API key may name the user;
// the holder of a token is who the token says.
type bearer struct {
	user   string
	ttl    time.Duration
	claims *creds.Claims // of a token; nil for an API key
}

func (a *api) bearer(secret, username string) (_ bearer, ok bool) {
	if secret == "" {
		return bearer{}, false
	}
	if a.isKey(secret) {
		return bearer{user: username, ttl: a.minter.ttl}, username == "" || creds.CheckUser(username) == nil
	}
	claims, err := a.tokens.Verify(secret, time.Now())
	if err != nil {
		return bearer{}, false
	}
	user := "t." + rand.Text()[:12]
	if claims.Subject != "" && creds.CheckUser("t."+claims.Subject) == nil {
		user = "t." + claims.Subject
	}
	return bearer{a.minter.member(user), a.minter.ttl, &claims}, true
}

// isBarred answers who may not join for now.
func (a *api) isBarred(w http.ResponseWriter, r *http.Request, b bearer) bool {
	if b.claims == nil || !a.bars(*b.claims, a.address(r)) {
		return false
	}
	refuse(w, http.StatusForbidden, "forbidden", "banned")
	return true
}

func (a *api) isKey(secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	match := 0
	for _, key := range a.keys {
		match |= subtle.ConstantTimeCompare(sum[:], key[:])
	}
	return match == 1
}

// restPaths are ours, and that of Nextcloud Talk's signaling server, so that programs
// which ask that one only need another host.
var restPaths = []string{"/turn", "/turn/credentials"}

// serveREST answers as draft-uberti-behave-turn-rest-00 describes. The key comes as
// key=, api= (Janus) or Bearer.
func (a *api) serveREST(w http.ResponseWriter, r *http.Request) {
	a.allowOrigin(w, r)
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "bad_request", "the form cannot be read")
		return
	}
	key := bearerOf(r)
	for _, name := range []string{"key", "api"} {
		if key == "" {
			key = r.Form.Get(name)
		}
	}
	user := r.Form.Get("username")
	switch {
	case !a.isKey(key):
		if a.isGuess(w, r, key) {
			return
		}
		refuse(w, http.StatusForbidden, "forbidden", "the API key is not valid")
	case r.Form.Get("service") != "turn":
		refuse(w, http.StatusBadRequest, "bad_request", "want service=turn")
	case user != "" && creds.CheckUser(user) != nil:
		refuse(w, http.StatusBadRequest, "bad_request", "username: want 1 to 255 bytes of printable text")
	default:
		a.minter.issue(shapeREST)
		c, _ := a.minter.mint(user, a.minter.ttl)
		writeJSON(w, http.StatusOK, map[string]any{
			"username": c.Username, "password": c.Password,
			"ttl": int(c.TTL.Seconds()), "uris": a.minter.turn,
		})
	}
}

// allowOrigin lets pages of the configured origins read the answer. There are no
// cookies: an origin alone gets nothing.
func (a *api) allowOrigin(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin != "" && slices.ContainsFunc(a.origins, func(o config.Origin) bool { return matchesOrigin(string(o), origin) }) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
	}
	w.Header().Add("Vary", "Origin")
}

// matchesOrigin compares an origin with an entry of signaling.origins, where the
// host may begin with "*." (any label or more). "self" needs no header.
func matchesOrigin(entry, origin string) bool {
	scheme, suffix, wild := strings.Cut(entry, "://*.")
	if wild {
		host, ok := strings.CutPrefix(origin, scheme+"://")
		return ok && strings.HasSuffix(host, "."+suffix)
	}
	return entry == "*" || entry == origin
}

// serveOptions answers the question that browsers ask before they send a Bearer.
func (a *api) serveOptions(w http.ResponseWriter, r *http.Request) {
	a.allowOrigin(w, r)
	w.Header().Set("Access-Control-Allow-Headers", "Authorization")
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}

// refuse writes an error of the HTTP contract.
func refuse(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]string{"code": code, "message": message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.Encode(v) // an error here is the client's hanging up
}
