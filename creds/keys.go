package creds

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Verdict is what [Keys] thinks of a username at a moment.
type Verdict uint8

const (
	// OK: new allocations may be made with it.
	OK Verdict = iota
	// Malformed: not a TURN REST username; it has no password.
	Malformed
	// Expired: its time has passed. It still has passwords, so that an allocation
	// made in time can be refreshed.
	Expired
	// Revoked: [Keys.Revoke] was called for its user, or [Keys.SetRevoked] names it. It still has passwords, so
	// that the answer can be signed.
	Revoked
)

func (v Verdict) String() string {
	switch v {
	case OK:
		return "ok"
	case Malformed:
		return "malformed"
	case Expired:
		return "expired"
	case Revoked:
		return "revoked"
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Credential is a username and password for TURN, as browsers take them.
type Credential struct {
	Username string
	Password string
	Expires  time.Time     // to the second, as written in Username
	TTL      time.Duration // as asked for
}

// Login is what is known of a username.
type Login struct {
	// Passwords holds one candidate per secret, newest first; none when the
	// username is malformed. A request is authentic if it was signed with any.
	Passwords []string
	// User is the part after the first colon, "" if there is none.
	User    string
	Expires time.Time
	Verdict Verdict
}

// KeysOptions are the circumstances of a [Keys].
type KeysOptions struct {
	// Secrets: the first signs, all verify. At least one is needed.
	Secrets []string
	// AllowShort admits secrets of fewer than [MinSecret] bytes.
	AllowShort bool
	// Realm is needed for [Keys.Username] (USERHASH, RFC 8489 §14.4).
	Realm string
	// Revoked are users whose credentials are worthless as long as they are listed.
	Revoked []string
	// MaxIssued bounds the usernames remembered for USERHASH. Zero means 65,536.
	MaxIssued int
	// MaxRevoked bounds the revocations held at once. Zero means 262,144.
	MaxRevoked int
}

// Keys issues and checks TURN REST credentials. It is safe for concurrent use.
type Keys struct {
	allowShort bool
	realm      string
	secrets    atomic.Pointer[[][]byte]
	listed     atomic.Pointer[map[string]bool] // users of SetRevoked

	mu      sync.Mutex // guards the following
	issued  issued
	revoked revocations
}

// NewKeys returns Keys, or an error that says which secret is unfit and why.
func NewKeys(o KeysOptions) (*Keys, error) {
	if o.MaxIssued == 0 {
		o.MaxIssued = 1 << 16
	}
	if o.MaxRevoked == 0 {
		o.MaxRevoked = 1 << 18
	}
	k := &Keys{
		allowShort: o.AllowShort,
		realm:      o.Realm,
		issued:     issued{max: o.MaxIssued, usernames: map[halfHash]string{}},
		revoked:    revocations{max: o.MaxRevoked, byUser: map[string]*revocation{}},
	}
	k.SetRevoked(o.Revoked)
	if err := k.SetSecrets(o.Secrets); err != nil {
		return nil, err
	}
	return k, nil
}

// SetSecrets replaces the list of secrets at once, or changes nothing and says
// why. Credentials signed with a secret that is no longer listed stop working.
func (k *Keys) SetSecrets(secrets []string) error {
	keys, err := checkSecrets(secrets, k.allowShort)
	if err != nil {
		return err
	}
	k.secrets.Store(&keys)
	return nil
}

// Issue makes a credential for user that expires ttl after now. An empty user
// gives a username without user part, on which no per-user quota is counted.
// A user that does not pass [CheckUser] gives a credential that no server admits.
func (k *Keys) Issue(user string, ttl time.Duration, now time.Time) Credential {
	username := formatUsername(now.Add(ttl), user)
	expires, _, _ := ParseUsername(username)
	k.mu.Lock()
	k.issued.add(sha256.Sum256([]byte(username+":"+k.realm)), username, now)
	k.mu.Unlock()
	return Credential{
		Username: username,
		Password: password((*k.secrets.Load())[0], username),
		Expires:  expires,
		TTL:      ttl,
	}
}

// Lookup tells what username is worth at now, and the passwords that prove it.
func (k *Keys) Lookup(username string, now time.Time) Login {
	expires, user, err := ParseUsername(username)
	if err != nil {
		return Login{Verdict: Malformed}
	}
	secrets := *k.secrets.Load()
	login := Login{User: user, Expires: expires, Passwords: make([]string, len(secrets))}
	for i, secret := range secrets {
		login.Passwords[i] = password(secret, username)
	}
	switch {
	case user != "" && k.isRevoked(user, now):
		login.Verdict = Revoked
	case !now.Before(expires):
		login.Verdict = Expired
	}
	return login
}

// Verify tells what username is worth at now, and whether password belongs to it.
func (k *Keys) Verify(username, password string, now time.Time) (Login, bool) {
	login := k.Lookup(username, now)
	match := 0
	for _, p := range login.Passwords {
		match |= subtle.ConstantTimeCompare([]byte(p), []byte(password))
	}
	return login, match == 1
}

// Username finds the username behind a USERHASH, SHA-256(username ":" realm),
// among those issued by this process (RFC 8489 §14.4). Whether it
// is still worth something is for [Keys.Lookup] to say.
func (k *Keys) Username(hash [32]byte) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	username, ok := k.issued.usernames[halfOf(hash)]
	return username, ok
}

// Revoke makes every credential of user worthless until the given time, which
// is best the expiry of the last one issued to it. A later time wins.
// An empty user is nobody: nothing happens.
func (k *Keys) Revoke(user string, until time.Time) {
	if user == "" {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.revoked.add(user, until)
}

// SetRevoked replaces the list of users whose credentials are worthless whatever their
// time. It has no end, and what [Keys.Revoke] did stays.
func (k *Keys) SetRevoked(users []string) {
	listed := make(map[string]bool, len(users))
	for _, u := range users {
		listed[u] = true
	}
	k.listed.Store(&listed)
}

func (k *Keys) isRevoked(user string, now time.Time) bool {
	if (*k.listed.Load())[user] {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.revoked.forget(now)
	_, ok := k.revoked.byUser[user]
	return ok
}

func password(secret []byte, username string) string {
	mac := hmac.New(sha1.New, secret)
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
