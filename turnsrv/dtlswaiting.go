package turnsrv

import (
	"container/list"
	"net/netip"
)

// waiting are the DTLS connections whose client has not returned the cookie, the oldest
// first. Anybody can make any number of them by ClientHellos with forged sources, so when
// they fill three quarters of the places for strangers, of all or of one caller, the
// oldest goes: at a thousand forged ones a second there is still most of a second left to
// return a cookie. Guarded by the listener's mu.
type waiting struct {
	all     list.List // of *dtlsPath
	callers map[netip.Prefix]*list.List
}

// enter takes one in, and returns those that have to go.
func (w *waiting) enter(p *dtlsPath, limits *Limits) (out []*dtlsPath) {
	key := callerOf(p.key.client.Addr())
	mine := w.callers[key]
	if mine == nil {
		if w.callers == nil {
			w.callers = map[netip.Prefix]*list.List{}
		}
		mine = list.New()
		w.callers[key] = mine
	}
	p.turn, p.turnOfCaller = w.all.PushBack(p), mine.PushBack(p)
	for _, l := range []struct {
		list *list.List
		most int
	}{{mine, limits.ConnectionsPerIP}, {&w.all, limits.Unauthenticated}} {
		if l.list.Len() > max(1, l.most*3/4) {
			oldest := l.list.Front().Value.(*dtlsPath)
			w.leave(oldest)
			out = append(out, oldest)
		}
	}
	return out
}

// leave is the end of waiting, whatever the reason. It may come more than once.
func (w *waiting) leave(p *dtlsPath) {
	if p.turn == nil {
		return
	}
	key := callerOf(p.key.client.Addr())
	w.all.Remove(p.turn)
	w.callers[key].Remove(p.turnOfCaller)
	if w.callers[key].Len() == 0 {
		delete(w.callers, key)
	}
	p.turn, p.turnOfCaller = nil, nil
}
