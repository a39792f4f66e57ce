package relay

import (
	"crypto/sha256"
	"net/netip"
	"time"

	"github.com/pion/stun/v3"
)

// allFeatures is what nonces announce, unless a client has shown a USERHASH that
// this server cannot resolve: then the next nonce asks for the plain USERNAME.
const allFeatures = featurePasswordAlgorithms | featureUsernameAnonymity

// authenticate runs the long-term credential mechanism (RFC 8489 section 9.2.4) and
// answers the request itself when it fails. a is the client's allocation, if any:
// its owner authenticates with the password that made it, whatever has happened to
// the secret since.
func (t *Table) authenticate(r *request, a *allocation) bool {
	m := &r.msg
	if m.mi == 0 && m.mi256 == 0 {
		if t.maySpeak(r, unauthenticated, r.policy.Limits.Unauthenticated, RateLimited) {
			t.trace(r, TraceChallenged, 401, "", netip.AddrPort{})
			t.challenge(r, 401, allFeatures)
		}
		return false
	}
	name, hasName := m.get(stun.AttrUsername)
	hash, hasHash := m.get(stun.AttrUserhash)
	realm, hasRealm := m.get(stun.AttrRealm)
	nonce, hasNonce := m.get(stun.AttrNonce)
	if hasName == hasHash || !hasRealm || !hasNonce || hasHash && len(hash) != 32 {
		t.refuse(r, 400)
		return false
	}
	features, fresh := t.nonces.check(nonce, r.now.Unix, r.client.Addr)
	alg, ok := m.chosenAlgorithm(features&featurePasswordAlgorithms != 0)
	if !ok {
		t.refuse(r, 400)
		return false
	}
	r.username = string(name)
	if hasHash {
		if r.username, ok = t.behind([32]byte(hash), a); !ok {
			r.batch.Counts.came(AuthMalformed)
			t.refuseLogin(r, WhyUnknown, allFeatures&^featureUsernameAnonymity)
			return false
		}
	}
	if string(realm) != t.realm {
		r.batch.Counts.came(AuthWrongRealm)
		t.refuseLogin(r, t.whyRefused(r, string(realm), alg), allFeatures)
		return false
	}
	if !t.verify(r, a, alg) {
		r.batch.Counts.came(r.login.Verdict.failure())
		t.refuseLogin(r, t.whyRefused(r, string(realm), alg), allFeatures)
		return false
	}
	t.callers.authenticated(r.now.Mono, r.client.Addr.Addr())
	if r.client.conn != nil {
		r.client.conn.authenticated.Store(true)
	}
	if !fresh {
		r.batch.Counts.came(AuthStaleNonce)
		t.trace(r, TraceRefused, 438, WhyStale, netip.AddrPort{})
		t.challenge(r, 438, allFeatures)
		return false
	}
	return true
}

// behind finds the username of a USERHASH. That of the client's own allocation is known,
// whoever minted the credential.
func (t *Table) behind(hash [32]byte, a *allocation) (username string, ok bool) {
	if a != nil && sha256.Sum256([]byte(a.username+":"+t.realm)) == hash {
		return a.username, true
	}
	return t.keys.Username(hash)
}

// refuseLogin answers 401 to credentials that are not good. Whose address has sent
// too many is not answered over UDP, where clients ask again; a connection, where
// nobody would, is to be closed. Good credentials never come here, whatever others
// behind the same NAT have tried.
func (t *Table) refuseLogin(r *request, why string, features byte) {
	if t.callers.allow(r.now.Mono, r.client.Addr.Addr(), failedLogins, r.policy.Limits.FailedLogins) {
		t.trace(r, TraceRefused, 401, why, netip.AddrPort{})
		t.challenge(r, 401, features)
		return
	}
	r.batch.drop(LoginLimited)
	t.trace(r, TraceSilenced, 0, LoginLimited.String(), netip.AddrPort{})
	if c := r.client.conn; c != nil && !c.authenticated.Load() {
		c.expelled.Store(true)
	}
}

// graceAge is how old an allocation may get on a credential that has expired: then
// its owner has to show a valid one.
const graceAge = 24 * time.Hour

// verify checks the MAC and that the user may still ask for this. On success the
// request's answers are signed from then on.
func (t *Table) verify(r *request, a *allocation, alg uint16) bool {
	owner := a != nil && a.username == r.username
	grace := !r.policy.StrictExpiry && owner && r.now.Mono-a.created < graceAge
	if owner && (a.expires.Load() == 0 || grace) && t.verifyKey(r, alg, a.password) {
		r.login.Traced = a.traced
		return true
	}
	r.login = t.keys.Lookup(r.username, r.now.Unix)
	if r.login.Verdict != Valid {
		return false
	}
	for _, password := range r.login.Passwords {
		if t.verifyKey(r, alg, password) {
			return true
		}
	}
	return false
}

func (t *Table) verifyKey(r *request, alg uint16, password string) bool {
	key := longTermKey(alg, r.username, t.realm, password)
	if !r.msg.signedBy(key) {
		return false
	}
	r.password = password
	r.signer = signer{key, r.msg.mi256 != 0}
	return true
}
