package mux

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// Visitors are the connections of strangers on which nothing is being answered: those that
// have not shown what they are, that have sent no HTTP request yet, and those that may send
// another. An address, behind which many people may be, has room for so many; then its oldest
// goes, so that it can neither use up the process's descriptors nor keep a good user out.
type Visitors struct {
	Most int // of one IPv4 address or IPv6 /64; default 1024: a browser has up to six

	mu      sync.Mutex // guards waiting
	waiting map[netip.Prefix][]net.Conn
}

const defaultVisitors = 1024

// State is http.Server's ConnState.
func (v *Visitors) State(c net.Conn, s http.ConnState) {
	if out := v.take(c, s); out != nil {
		bare(out).Close() // without a word, which might have to wait
	}
}

// take follows one connection, and returns the one that has to go.
func (v *Visitors) take(c net.Conn, s http.ConnState) (out net.Conn) {
	key := visitorOf(c.RemoteAddr())
	v.mu.Lock()
	defer v.mu.Unlock()
	list := v.waiting[key]
	if i := slices.Index(list, c); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	if s == http.StateNew || s == http.StateIdle {
		if list = append(list, c); len(list) > cmp.Or(v.Most, defaultVisitors) {
			out = list[0]
			list = slices.Delete(list, 0, 1)
		}
	}
	if len(list) == 0 {
		delete(v.waiting, key)
		return out
	}
	if v.waiting == nil {
		v.waiting = map[netip.Prefix][]net.Conn{}
	}
	v.waiting[key] = list
	return out
}

// visitorOf is what one visitor can hardly have many of.
func visitorOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{} // a unix socket
	}
	ip, bits := at.Addr().Unmap().WithZone(""), 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
