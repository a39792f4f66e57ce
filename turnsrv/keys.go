package turnsrv

import (
	"time"

	"rtcd/creds"
	"rtcd/turnsrv/relay"
)

// Credentials lets the TURN REST credentials of k in.
func Credentials(k *creds.Keys) relay.Keys { return restKeys{k} }

// ownKeys exempts the server's own user from the quotas.
type ownKeys struct {
	relay.Keys
	own string
}

func (k ownKeys) Lookup(username string, unix int64) relay.Login {
	l := k.Keys.Lookup(username, unix)
	l.Exempt = k.own != "" && l.User == k.own
	return l
}

type restKeys struct{ keys *creds.Keys }

func (r restKeys) Lookup(username string, unix int64) relay.Login {
	l := r.keys.Lookup(username, time.Unix(unix, 0))
	if l.Verdict == creds.Malformed {
		return relay.Login{}
	}
	out := relay.Login{Passwords: l.Passwords, User: l.User}
	switch l.Verdict {
	case creds.OK:
		out.Verdict = relay.Valid
	case creds.Expired:
		out.Verdict = relay.Expired
	default:
		out.Verdict = relay.Revoked
	}
	id, _ := creds.CheckOf(l.User)
	out.Traced = id != ""
	out.RelayOnly, out.MaxBytes = creds.Restricted(l.User)
	return out
}

func (r restKeys) Username(hash [32]byte) (string, bool) { return r.keys.Username(hash) }
