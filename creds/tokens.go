package creds

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Claims is what a join token says.
type Claims struct {
	// Room is the room that the bearer may join; "" lets it choose.
	Room string
	// Name is shown to the others; it need not be unique.
	Name string
	// Subject identifies the person across sessions, "" if nobody cares.
	Subject string
	// Perms names what the bearer may do beyond being a member.
	Perms []string
	// Expires is when the token stops being valid, to the second. It is required.
	Expires time.Time
}

// wireClaims is the JSON of [Claims].
type wireClaims struct {
	Room  string   `json:"room,omitempty"`
	Name  string   `json:"name,omitempty"`
	Perms []string `json:"perms,omitempty"`
	jwt.RegisteredClaims
}

var (
	// ErrTokenExpired says that a token was genuine but its time has passed.
	ErrTokenExpired = errors.New("join token has expired")
	// ErrTokenInvalid says that a token is not one of ours.
	ErrTokenInvalid = errors.New("join token is not valid")
)

// maxToken bounds the length of a token in bytes; longer ones are not looked at.
const maxToken = 4096

// TokensOptions are the circumstances of a [Tokens].
type TokensOptions struct {
	// Secrets: the first signs, all verify. At least one is needed, and none
	// should also be a TURN secret: that one is shared with other programs.
	Secrets []string
	// AllowShort admits secrets of fewer than [MinSecret] bytes.
	AllowShort bool
}

// Tokens signs and verifies join tokens (JWT, RFC 7519, HS256 only). It is safe
// for concurrent use.
type Tokens struct {
	allowShort bool
	secrets    atomic.Pointer[[][]byte]
}

// NewTokens returns Tokens, or an error that says which secret is unfit and why.
func NewTokens(o TokensOptions) (*Tokens, error) {
	t := &Tokens{allowShort: o.AllowShort}
	if err := t.SetSecrets(o.Secrets); err != nil {
		return nil, err
	}
	return t, nil
}

// SetSecrets replaces the list of secrets at once, or changes nothing and says why.
func (t *Tokens) SetSecrets(secrets []string) error {
	keys, err := checkSecrets(secrets, t.allowShort)
	if err != nil {
		return err
	}
	t.secrets.Store(&keys)
	return nil
}

// Sign returns the token that says c. Claims without an expiry are refused.
func (t *Tokens) Sign(c Claims) (string, error) {
	if c.Expires.IsZero() {
		return "", errors.New("join token: expiry is missing")
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, wireClaims{
		Room: c.Room, Name: c.Name, Perms: c.Perms,
		RegisteredClaims: jwt.RegisteredClaims{
			Subject:   c.Subject,
			ExpiresAt: jwt.NewNumericDate(c.Expires),
		},
	})
	s, err := token.SignedString((*t.secrets.Load())[0])
	if err != nil {
		return "", fmt.Errorf("join token: %w", err)
	}
	if len(s) > maxToken {
		return "", fmt.Errorf("join token: %d bytes, at most %d are allowed", len(s), maxToken)
	}
	return s, nil
}

// Verify returns what token says if it is genuine and valid at now. Its errors
// are [ErrTokenExpired] or wrap [ErrTokenInvalid]; they never quote the token.
func (t *Tokens) Verify(token string, now time.Time) (Claims, error) {
	if len(token) > maxToken {
		return Claims{}, fmt.Errorf("%w: %d bytes long", ErrTokenInvalid, len(token))
	}
	if strings.ContainsAny(token, "\r\n") { // base64 decoders skip them: one token, one text
		return Claims{}, fmt.Errorf("%w: not a token of this server", ErrTokenInvalid)
	}
	var c wireClaims
	_, err := jwt.ParseWithClaims(token, &c, t.verificationKeys,
		jwt.WithStrictDecoding(),
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Claims{}, fmt.Errorf("%w: signed with another secret or algorithm", ErrTokenInvalid)
	case errors.Is(err, jwt.ErrTokenExpired):
		return Claims{}, ErrTokenExpired
	case errors.Is(err, jwt.ErrTokenRequiredClaimMissing):
		return Claims{}, fmt.Errorf("%w: it has no expiry", ErrTokenInvalid)
	case err != nil:
		return Claims{}, fmt.Errorf("%w: not a token of this server", ErrTokenInvalid)
	}
	return c.claims(), nil
}

func (c *wireClaims) claims() Claims {
	return Claims{Room: c.Room, Name: c.Name, Subject: c.Subject, Perms: c.Perms, Expires: c.ExpiresAt.Time}
}

func (t *Tokens) verificationKeys(*jwt.Token) (any, error) {
	var set jwt.VerificationKeySet
	for _, secret := range *t.secrets.Load() {
		set.Keys = append(set.Keys, secret)
	}
	return set, nil
}
