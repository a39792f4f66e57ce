package main

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"rtcd/internal/supervisor"
)

// adminRoutes is the admin endpoint. It is for programs on this machine: requests
// from web pages, which a browser here might be made to send, are refused. What changes
// something needs the token, or comes over a unix socket, whose file only its owner can
// open.
func adminRoutes(a *app, token string) http.Handler {
	mux := http.NewServeMux()
	text := func(w http.ResponseWriter, status int, line string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		w.Write([]byte(line + "\n"))
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if err := supervisor.Pass(r.Context(), pulseLimit, a.pulse()); err != nil {
			text(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		text(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if state := a.state(); state != stateReady {
			text(w, http.StatusServiceUnavailable, state)
			return
		}
		text(w, http.StatusOK, stateReady)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	a.adminAPI(mux)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case len(r.Header.Values("Origin")) > 0:
			refuse(w, http.StatusForbidden, "forbidden", "not for web pages")
		case !localHost(r):
			refuse(w, http.StatusForbidden, "forbidden", "call it by a loopback address or localhost")
		case r.Method != http.MethodGet && r.Method != http.MethodHead && !overUnix(r) && !bearsToken(r, token):
			w.Header().Set("WWW-Authenticate", `Bearer realm="rtcd admin"`)
			refuse(w, http.StatusUnauthorized, "unauthorized", "the admin token is needed, as Bearer")
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// overUnix tells whether a request came over a unix socket.
func overUnix(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// bearsToken tells whether a request carries the admin token.
func bearsToken(r *http.Request, token string) bool {
	return subtle.ConstantTimeCompare([]byte(bearerOf(r)), []byte(token)) == 1
}

// localHost tells whether a request was sent to this machine by a name that only
// means this machine; otherwise a page whose name was made to resolve to 127.0.0.1
// could read the answers.
func localHost(r *http.Request) bool {
	if overUnix(r) {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
