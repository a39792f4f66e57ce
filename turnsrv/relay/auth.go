package relay

import (
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
		if r.username, ok = t.keys.Username([32]byte(hash)); !ok {
			t.refuseLogin(r, allFeatures&^featureUsernameAnonymity)
			return false
		}
	}
	if string(realm) != t.realm || !t.verify(r, a, alg) {
		t.refuseLogin(r, allFeatures)
		return false
	}
	if r.client.conn == nil {
		t.callers.authenticated(r.now.Mono, r.client.Addr.Addr())
	} else {
		r.client.conn.authenticated.Store(true)
	}
	if !fresh {
		t.challenge(r, 438, allFeatures)
		return false
	}
	return true
}

// refuseLogin answers 401 to credentials that are not good.
func (t *Table) refuseLogin(r *request, features byte) {
	if t.maySpeak(r, failedLogins, r.policy.Limits.FailedLogins, LoginLimited) {
		t.challenge(r, 401, features)
	}
}

// verify checks the MAC and that the user may still ask for this. On success the
// request's answers are signed from then on.
func (t *Table) verify(r *request, a *allocation, alg uint16) bool {
	owner := a != nil && a.username == r.username
	if owner && (a.expires.Load() == 0 || !r.policy.StrictExpiry) && t.verifyKey(r, alg, a.password) {
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
