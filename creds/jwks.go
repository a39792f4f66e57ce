package creds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// JWKSOptions are the circumstances of a [JWKS].
type JWKSOptions struct {
	// Source is the https address of a JWK set, or the path of a file with one.
	Source string
	// Audience and Issuer are what a token's aud and iss must say; "" is not looked at.
	Audience, Issuer string
	// Refresh is how long keys are used before they are looked at again (1 h).
	Refresh time.Duration
	// Client fetches the set. The default follows no redirect and takes ten seconds at most.
	Client *http.Client
}

// JWKS verifies join tokens that another issuer has signed with one of its keys: ES256
// (RFC 7518), EdDSA (RFC 8037) or RS256. The key decides the algorithm. Neither a key nor
// an address of one is ever taken from a token. It is safe for concurrent use.
type JWKS struct {
	o    JWKSOptions
	keys atomic.Pointer[map[string]jwk] // by kid; nil until there are some

	failures atomic.Uint64

	mu    sync.Mutex // guards the following; held while keys are fetched
	tried time.Time  // the last fetch, whatever came of it
	good  time.Time  // the last that brought keys
}

const (
	jwksRefresh = time.Hour
	jwksPause   = 30 * time.Second // between two fetches, whatever tokens claim
	maxJWKS     = 256 << 10        // bytes of a set
)

// NewJWKS returns a JWKS that knows no keys yet: see [JWKS.Refresh].
func NewJWKS(o JWKSOptions) *JWKS {
	o.Refresh = cmp.Or(o.Refresh, jwksRefresh)
	if o.Client == nil {
		o.Client = &http.Client{
			Timeout:       10 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return &JWKS{o: o}
}

// Refresh fetches the keys if that is due. When it fails the keys before stay in use.
func (j *JWKS) Refresh(ctx context.Context, now time.Time) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	pause := j.o.Refresh
	if j.good.Before(j.tried) || j.good.IsZero() {
		pause = jwksPause
	}
	if !j.tried.IsZero() && now.Sub(j.tried) < pause {
		return nil
	}
	return j.fetchLocked(ctx, now)
}

// Keys is how many keys there are.
func (j *JWKS) Keys() int {
	if keys := j.keys.Load(); keys != nil {
		return len(*keys)
	}
	return 0
}

// Failing tells whether the last fetch has failed.
func (j *JWKS) Failing() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.good.Before(j.tried)
}

// Failures is how many fetches have failed.
func (j *JWKS) Failures() uint64 { return j.failures.Load() }

func (j *JWKS) fetchLocked(ctx context.Context, now time.Time) error {
	j.tried = now
	data, err := j.read(ctx)
	var keys map[string]jwk
	if err == nil {
		keys, err = parseJWKS(data)
	}
	if err != nil {
		j.failures.Add(1)
		return fmt.Errorf("keys of join tokens from %s: %w", j.o.Source, err)
	}
	j.good = now
	j.keys.Store(&keys)
	return nil
}

func (j *JWKS) read(ctx context.Context) ([]byte, error) {
	if !strings.Contains(j.o.Source, "://") {
		return os.ReadFile(j.o.Source)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, j.o.Source, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	answer, err := j.o.Client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server says %s", answer.Status)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxJWKS+1))
	if err == nil && len(data) > maxJWKS {
		err = fmt.Errorf("more than %d bytes", maxJWKS)
	}
	return data, err
}

// key finds the key of a kid. One that is not known may be new: then the set is fetched,
// unless that was done a moment ago.
func (j *JWKS) key(kid string, now time.Time) (jwk, bool) {
	if k, ok := j.known(kid); ok {
		return k, true
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if now.Sub(j.tried) >= jwksPause && j.fetchLocked(context.Background(), now) != nil {
		return jwk{}, false
	}
	return j.known(kid)
}

// known finds a key among those that are there. Who names none means the only one.
func (j *JWKS) known(kid string) (jwk, bool) {
	keys := j.keys.Load()
	if keys == nil {
		return jwk{}, false
	}
	if kid == "" && len(*keys) == 1 {
		for _, k := range *keys {
			return k, true
		}
	}
	k, ok := (*keys)[kid]
	return k, ok
}

// Verify returns what a token says if one of the keys has signed it and it is valid at now.
// The claims are those of our own tokens: room, name, sub, perms, exp. Its errors are
// [ErrTokenExpired] or wrap [ErrTokenInvalid]; they never quote the token.
func (j *JWKS) Verify(token string, now time.Time) (Claims, error) {
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") {
		return Claims{}, fmt.Errorf("%w: too long, or in lines", ErrTokenInvalid)
	}
	options := []jwt.ParserOption{
		jwt.WithStrictDecoding(), jwt.WithExpirationRequired(),
		jwt.WithValidMethods([]string{"ES256", "EdDSA", "RS256"}),
		jwt.WithTimeFunc(func() time.Time { return now }),
	}
	if j.o.Audience != "" {
		options = append(options, jwt.WithAudience(j.o.Audience))
	}
	if j.o.Issuer != "" {
		options = append(options, jwt.WithIssuer(j.o.Issuer))
	}
	var c wireClaims
	_, err := jwt.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) { return j.keyOf(t, now) }, options...)
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return Claims{}, fmt.Errorf("%w: signed with no key of the issuer", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenInvalidAudience), errors.Is(err, jwt.ErrTokenInvalidIssuer), errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return Claims{}, fmt.Errorf("%w: its aud, iss or exp is not as it has to be", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenExpired):
		return Claims{}, ErrTokenExpired
	case err != nil:
		return Claims{}, fmt.Errorf("%w: not a token of the issuer", ErrTokenInvalid)
	}
	return c.claims(), nil
}

var errNoKey = errors.New("no key for this token")

// keyOf finds the key that a token says it was signed with.
func (j *JWKS) keyOf(t *jwt.Token, now time.Time) (any, error) {
	if _, critical := t.Header["crit"]; critical { // RFC 7515 section 4.1.11: not understood, so refused
		return nil, errNoKey
	}
	kid := ""
	if v, has := t.Header["kid"]; has {
		var ok bool
		if kid, ok = v.(string); !ok || kid == "" {
			return nil, errNoKey
		}
	}
	k, ok := j.key(kid, now)
	if !ok || t.Method.Alg() != k.alg {
		return nil, errNoKey
	}
	return k.key, nil
}
