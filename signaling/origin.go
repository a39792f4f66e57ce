package signaling

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// originAllowed says whether a page may open a socket here. There are no cookies,
// so an origin is no credential; the list keeps foreign pages from using their
// visitors' network place. A missing Origin is no browser: its token decides.
// "null" (a file, a sandbox) is nobody, whatever the list says.
func originAllowed(allowed []string, r *http.Request) bool {
	headers := r.Header.Values("Origin")
	switch {
	case len(headers) == 0:
		return true
	case len(headers) > 1:
		return false
	}
	o, ok := parseOrigin(headers[0])
	if !ok {
		return false
	}
	for _, a := range allowed {
		switch {
		case a == "*":
			return true
		case a == "self":
			if o.isHost(r.Host, r.TLS != nil) {
				return true
			}
		case o.matches(a):
			return true
		}
	}
	return false
}

// origin is scheme, host and port, in lower case, the port never empty.
type origin struct{ scheme, host, port string }

func parseOrigin(s string) (origin, bool) {
	u, err := url.Parse(strings.ToLower(s))
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return origin{}, false
	}
	o := origin{u.Scheme, strings.TrimSuffix(u.Hostname(), "."), u.Port()}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	return o, o.port != ""
}

func defaultPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// isHost compares with the Host header. Behind a proxy that ends TLS an https page
// talks plain HTTP to us; an http page of a TLS site is somebody else.
func (o origin) isHost(host string, encrypted bool) bool {
	if encrypted && o.scheme != "https" {
		return false
	}
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), defaultPort(o.scheme)
	}
	return strings.EqualFold(strings.TrimSuffix(name, "."), o.host) && port == o.port
}

// matches compares with an entry of the list: [scheme://]host[:port], where the
// host may begin with "*." (one label or more, not the domain itself).
func (o origin) matches(entry string) bool {
	entry = strings.ToLower(entry)
	if !strings.Contains(entry, "://") {
		entry = o.scheme + "://" + entry
	}
	a, ok := parseOrigin(entry)
	if !ok || a.scheme != o.scheme || a.port != o.port {
		return false
	}
	if suffix, wild := strings.CutPrefix(a.host, "*"); wild {
		return strings.HasPrefix(suffix, ".") && strings.HasSuffix(o.host, suffix) && len(o.host) > len(suffix)
	}
	return a.host == o.host
}
