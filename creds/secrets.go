package creds

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
)

// MinSecret is the length in bytes below which a secret is refused unless short
// ones are explicitly allowed: a password is an HMAC of a known username, so
// whoever holds one credential can try secrets offline.
const MinSecret = 32

// ErrNoSecret says that no secret was given. There is no default secret.
var ErrNoSecret = errors.New("no secret is configured")

// checkSecrets returns the secrets as keys. Its errors tell positions and
// lengths, never contents.
func checkSecrets(secrets []string, allowShort bool) ([][]byte, error) {
	if len(secrets) == 0 {
		return nil, ErrNoSecret
	}
	keys := make([][]byte, 0, len(secrets))
	for i, s := range secrets {
		switch {
		case s == "":
			return nil, fmt.Errorf("secret %d of %d is empty", i+1, len(secrets))
		case len(s) < MinSecret && !allowShort:
			return nil, fmt.Errorf("secret %d of %d has %d bytes, want at least %d",
				i+1, len(secrets), len(s), MinSecret)
		case slices.Contains(secrets[:i], s):
			return nil, fmt.Errorf("secret %d of %d is there twice", i+1, len(secrets))
		}
		keys = append(keys, []byte(s))
	}
	return keys, nil
}

// Derive returns n bytes (at most 8160) for one purpose from a master key, by
// HKDF-SHA256 (RFC 5869) without salt. Different purposes give independent keys.
func Derive(master []byte, purpose string, n int) []byte {
	key, err := hkdf.Key(sha256.New, master, nil, "rtcd "+purpose, n)
	if err != nil { // only for n out of range, which is a constant of the caller
		panic(fmt.Sprintf("creds: derive %q: %v", purpose, err))
	}
	return key
}

// The purposes of keys derived from the master key.
const (
	PurposeNonce  = "turn nonce"
	PurposeResume = "signaling resume"
)
