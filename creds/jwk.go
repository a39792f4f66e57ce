package creds

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// jwk is one public key that tokens of another issuer are signed with, and the only
// algorithm that it is good for: what a token says of its algorithm decides nothing.
type jwk struct {
	alg string
	key crypto.PublicKey
}

// rawJWK is a key as RFC 7517 and RFC 8037 write it.
type rawJWK struct {
	Kty, Kid, Use, Alg, Crv, X, Y, N, E string
}

// maxKeys bounds a set; real ones hold two or three.
const maxKeys = 64

// parseJWKS reads a set of keys (RFC 7517 section 5). Keys that are of no use here (of
// another kind, for encryption, symmetric ones) are passed over; a set without any other
// is an error, and so is a key of ours that is broken or weak.
func parseJWKS(data []byte) (map[string]jwk, error) {
	var set struct{ Keys []rawJWK }
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("not a JWK set: %w", err)
	}
	keys := map[string]jwk{}
	for _, raw := range set.Keys {
		k, ok, err := raw.parse()
		switch {
		case err != nil:
			return nil, fmt.Errorf("key %q: %w", raw.Kid, err)
		case !ok:
			continue
		}
		if _, twice := keys[raw.Kid]; twice {
			return nil, fmt.Errorf("key %q is there twice", raw.Kid)
		}
		keys[raw.Kid] = k
	}
	switch {
	case len(keys) == 0:
		return nil, errors.New("no key for ES256, EdDSA or RS256 is in the set")
	case len(keys) > maxKeys:
		return nil, fmt.Errorf("%d keys, at most %d are read", len(keys), maxKeys)
	}
	return keys, nil
}

// parse returns the key, or ok false for one that is none of ours.
func (r *rawJWK) parse() (k jwk, ok bool, err error) {
	if r.Use != "" && r.Use != "sig" {
		return k, false, nil
	}
	switch {
	case r.Kty == "EC" && r.Crv == "P-256":
		k.alg = "ES256"
		k.key, err = r.ecdsa()
	case r.Kty == "OKP" && r.Crv == "Ed25519":
		k.alg = "EdDSA"
		k.key, err = r.ed25519()
	case r.Kty == "RSA" && (r.Alg == "" || r.Alg == "RS256"):
		k.alg = "RS256"
		k.key, err = r.rsa()
	default:
		return k, false, nil
	}
	if err == nil && r.Alg != "" && r.Alg != k.alg {
		return k, false, nil
	}
	return k, err == nil, err
}

func (r *rawJWK) ecdsa() (crypto.PublicKey, error) {
	x, errX := coordinate(r.X, 32)
	y, errY := coordinate(r.Y, 32)
	if err := errors.Join(errX, errY); err != nil {
		return nil, err
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...)) // it has to lie on the curve
}

func (r *rawJWK) ed25519() (crypto.PublicKey, error) {
	x, err := coordinate(r.X, ed25519.PublicKeySize)
	return ed25519.PublicKey(x), err
}

// minRSA is the shortest modulus, in bits, that NIST SP 800-131A still admits.
const minRSA = 2048

func (r *rawJWK) rsa() (crypto.PublicKey, error) {
	n, errN := base64.RawURLEncoding.DecodeString(r.N)
	e, errE := base64.RawURLEncoding.DecodeString(r.E)
	if err := errors.Join(errN, errE); err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	switch {
	case modulus.BitLen() < minRSA || modulus.BitLen() > 16384:
		return nil, fmt.Errorf("an RSA modulus of %d bits, want at least %d", modulus.BitLen(), minRSA)
	case exponent.BitLen() > 31 || exponent.Int64() < 3 || exponent.Bit(0) == 0:
		return nil, errors.New("an RSA exponent that is none")
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

// coordinate decodes a number of exactly size bytes.
func coordinate(text string, size int) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil && len(b) != size {
		err = fmt.Errorf("a coordinate of %d bytes, want %d", len(b), size)
	}
	return b, err
}
