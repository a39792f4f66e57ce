package creds

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// issuer is somebody else who signs tokens.
type issuer struct {
	t      *testing.T
	method jwt.SigningMethod
	kid    string
	key    crypto.Signer
}

func newIssuer(t *testing.T, method jwt.SigningMethod, kid string) *issuer {
	t.Helper()
	i := &issuer{t: t, method: method, kid: kid}
	var err error
	switch method {
	case jwt.SigningMethodES256:
		i.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jwt.SigningMethodEdDSA:
		_, i.key, err = ed25519.GenerateKey(rand.Reader)
	default:
		i.key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (i *issuer) token(method jwt.SigningMethod, key any, header map[string]any, claims jwt.MapClaims) string {
	i.t.Helper()
	all := jwt.MapClaims{"room": "r", "name": "Ann", "sub": "u1", "exp": noon.Add(time.Hour).Unix(), "aud": "rtcd", "iss": "https://id.example"}
	for k, v := range claims {
		if all[k] = v; v == nil {
			delete(all, k)
		}
	}
	token := jwt.NewWithClaims(method, all)
	token.Header["kid"] = i.kid
	for k, v := range header {
		if token.Header[k] = v; v == nil {
			delete(token.Header, k)
		}
	}
	s, err := token.SignedString(key)
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

func (i *issuer) sign(header map[string]any, claims jwt.MapClaims) string {
	i.t.Helper()
	return i.token(i.method, i.key, header, claims)
}

// public is the key as a set has it.
func (i *issuer) public() map[string]string {
	b64 := base64.RawURLEncoding.EncodeToString
	switch key := i.key.Public().(type) {
	case *ecdsa.PublicKey:
		raw, err := key.Bytes()
		if err != nil {
			i.t.Fatal(err)
		}
		return map[string]string{"kty": "EC", "crv": "P-256", "kid": i.kid, "use": "sig", "alg": "ES256", "x": b64(raw[1:33]), "y": b64(raw[33:])}
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": i.kid, "x": b64(key)}
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": i.kid, "n": b64(key.N.Bytes()), "e": b64(big.NewInt(int64(key.E)).Bytes())}
	}
	return nil
}

func setOf(keys ...map[string]string) []byte {
	data, _ := json.Marshal(map[string]any{"keys": keys}) // strings only
	return data
}

func fileOf(t *testing.T, set []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(name, set, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestJWKS: each algorithm verifies, among keys of which some are of no use.
func TestJWKS(t *testing.T) {
	issuers := []*issuer{
		newIssuer(t, jwt.SigningMethodES256, "es"), newIssuer(t, jwt.SigningMethodEdDSA, "ed"), newIssuer(t, jwt.SigningMethodRS256, "rs"),
	}
	set := []map[string]string{{"kty": "oct", "kid": "secret", "k": "c2VjcmV0"}, {"kty": "EC", "crv": "P-521", "kid": "other"}}
	for _, i := range issuers {
		set = append(set, i.public())
	}
	encryption := newIssuer(t, jwt.SigningMethodRS256, "enc")
	enc := encryption.public()
	enc["use"] = "enc"
	j := NewJWKS(JWKSOptions{Source: fileOf(t, setOf(append(set, enc)...)), Audience: "rtcd", Issuer: "https://id.example"})
	for _, i := range issuers {
		got, err := j.Verify(i.sign(nil, nil), noon)
		if err != nil || got.Room != "r" || got.Name != "Ann" || got.Subject != "u1" || !got.Expires.Equal(noon.Add(time.Hour)) {
			t.Errorf("%s: %+v %v", i.kid, got, err)
		}
	}
	if _, err := j.Verify(encryption.sign(nil, nil), noon); !errors.Is(err, ErrTokenInvalid) {
		t.Errorf("a key for encryption: %v", err)
	}
	if j.Keys() != 3 {
		t.Errorf("%d keys", j.Keys())
	}
}

// TestJWKSRefuses: what is known to be tried against such verifiers, and what an issuer does
// not mean for us.
func TestJWKSRefuses(t *testing.T) {
	es, rs, stranger := newIssuer(t, jwt.SigningMethodES256, "es"), newIssuer(t, jwt.SigningMethodRS256, "rs"), newIssuer(t, jwt.SigningMethodES256, "es")
	file := fileOf(t, setOf(es.public(), rs.public()))
	j := NewJWKS(JWKSOptions{Source: file, Audience: "rtcd", Issuer: "https://id.example"})
	der, err := x509.MarshalPKIXPublicKey(rs.key.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	fetched := atomic.Bool{}
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Store(true)
		w.Write(setOf(stranger.public()))
	}))
	defer trap.Close()
	for name, token := range map[string]string{
		"HS256 with the public key as PEM": rs.token(jwt.SigningMethodHS256, publicPEM, nil, nil),
		"HS256 with the public key as DER": rs.token(jwt.SigningMethodHS256, der, nil, nil),
		"HS256 with the modulus":           rs.token(jwt.SigningMethodHS256, rs.key.Public().(*rsa.PublicKey).N.Bytes(), nil, nil),
		"alg none":                         es.token(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, nil),
		"another key of that name":         stranger.sign(nil, nil),
		"the key of another name":          es.sign(map[string]any{"kid": "rs"}, nil),
		"a name that nobody has":           es.sign(map[string]any{"kid": "who"}, nil),
		"no name among several":            es.sign(map[string]any{"kid": nil}, nil),
		"a name that is a number":          es.sign(map[string]any{"kid": 7}, nil),
		"RS512 by the key for RS256":       rs.token(jwt.SigningMethodRS512, rs.key, nil, nil),
		"PS256 by the key for RS256":       rs.token(jwt.SigningMethodPS256, rs.key, nil, nil),
		"its own key in the header":        stranger.sign(map[string]any{"jwk": stranger.public()}, nil),
		"its own keys at an address":       stranger.sign(map[string]any{"jku": trap.URL, "x5u": trap.URL, "kid": "new"}, nil),
		"something critical":               es.sign(map[string]any{"crit": []string{"exp"}}, nil),
		"another audience":                 es.sign(nil, jwt.MapClaims{"aud": "else"}),
		"no audience":                      es.sign(nil, jwt.MapClaims{"aud": nil}),
		"another issuer":                   es.sign(nil, jwt.MapClaims{"iss": "https://id.evil"}),
		"no expiry":                        es.sign(nil, jwt.MapClaims{"exp": nil}),
		"not yet":                          es.sign(nil, jwt.MapClaims{"nbf": noon.Add(time.Hour).Unix()}),
		"in lines":                         strings.Replace(es.sign(nil, nil), ".", "\n.", 1),
		"too long":                         es.sign(nil, jwt.MapClaims{"name": strings.Repeat("x", maxToken)}),
		"one of our own kind":              handMade,
		"garbage":                          notAToken,
		"":                                 "",
	} {
		if _, err := j.Verify(token, noon); !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: %v", name, err)
		} else if len(token) > 20 && strings.Contains(err.Error(), token[:20]) {
			t.Errorf("%s: the error quotes the token", name)
		}
	}
	if _, err := j.Verify(es.sign(nil, jwt.MapClaims{"exp": noon.Unix()}), noon); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("expired: %v", err)
	}
	if fetched.Load() {
		t.Error("an address in a token was asked")
	}
}

// TestJWKSFollowsTheIssuer: a key that is new is fetched when a token names it, a key that is
// gone does not verify any more, and nobody can make the issuer be asked more than twice a
// minute. While it fails, the keys before are good.
func TestJWKSFollowsTheIssuer(t *testing.T) {
	first, second := newIssuer(t, jwt.SigningMethodES256, "1"), newIssuer(t, jwt.SigningMethodEdDSA, "2")
	var set atomic.Pointer[[]byte]
	var asked atomic.Int64
	put := func(b []byte) { set.Store(&b) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if b := *set.Load(); b != nil {
			w.Write(b)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	j := NewJWKS(JWKSOptions{Source: server.URL})
	now := noon
	verifies := func(i *issuer) bool {
		_, err := j.Verify(i.sign(nil, jwt.MapClaims{"exp": now.Add(time.Hour).Unix()}), now)
		return err == nil
	}
	want := func(step string, firstGood, secondGood bool, times int64) {
		t.Helper()
		if a, b := verifies(first), verifies(second); a != firstGood || b != secondGood {
			t.Errorf("%s: the first key verifies: %v, the second: %v", step, a, b)
		}
		if n := asked.Load(); n != times {
			t.Errorf("%s: the issuer was asked %d times, want %d", step, n, times)
		}
	}
	put(setOf(first.public()))
	want("a token comes before the first refresh", true, false, 1)
	put(setOf(first.public(), second.public()))
	for range 20 {
		verifies(second)
	}
	want("a moment later", true, false, 1)
	now = now.Add(jwksPause)
	want("the new key is there", true, true, 2)

	put(setOf(second.public()))
	if err := j.Refresh(t.Context(), now.Add(time.Minute)); err != nil || asked.Load() != 2 {
		t.Errorf("a refresh before its time: %v, asked %d times", err, asked.Load())
	}
	now = now.Add(jwksRefresh)
	if err := j.Refresh(t.Context(), now); err != nil {
		t.Error(err)
	}
	want("the old key is gone", false, true, 3)

	put(nil)
	now = now.Add(jwksRefresh)
	if err := j.Refresh(t.Context(), now); err == nil {
		t.Error("a redirect is followed")
	}
	want("the issuer fails", false, true, 4)
	if err := j.Refresh(t.Context(), now.Add(time.Second)); err != nil || asked.Load() != 4 {
		t.Errorf("it is asked again at once: %v", err)
	}
	put(setOf(first.public()))
	now = now.Add(jwksPause)
	if err := j.Refresh(t.Context(), now); err != nil {
		t.Error(err)
	}
	want("it is back", true, false, 5)
	if n := j.Failures(); n != 1 {
		t.Errorf("%d failures", n)
	}
}

// TestJWKSBadSets: a set that cannot be used is an error that says why.
func TestJWKSBadSets(t *testing.T) {
	es, rs := newIssuer(t, jwt.SigningMethodES256, "es").public(), newIssuer(t, jwt.SigningMethodRS256, "rs").public()
	with := func(key map[string]string, name, value string) []byte {
		k := map[string]string{}
		for n, v := range key {
			k[n] = v
		}
		k[name] = value
		return setOf(k)
	}
	for name, set := range map[string][]byte{
		"no JSON": []byte("<html>"), "empty": []byte("{}"), "of secrets only": setOf(map[string]string{"kty": "oct", "k": "AAAA"}),
		"off the curve": with(es, "y", es["x"]), "short": with(es, "x", "AAAA"), "no base64": with(es, "x", "!!"),
		"weak": with(rs, "n", "AQAB"), "even exponent": with(rs, "e", "Ag"), "twice": setOf(es, es),
		"large": []byte(strings.Repeat(" ", maxJWKS) + string(setOf(es))),
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(set) }))
		j := NewJWKS(JWKSOptions{Source: server.URL})
		if err := j.Refresh(context.Background(), noon); err == nil || !strings.Contains(err.Error(), server.URL) {
			t.Errorf("%s: %v", name, err)
		}
		server.Close()
	}
}

func FuzzJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"1","x":"AA","y":"AA"},{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := parseJWKS(data)
		if (err == nil) != (len(keys) > 0) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
		for kid, k := range keys {
			if k.alg != "ES256" && k.alg != "EdDSA" && k.alg != "RS256" || k.key == nil {
				t.Errorf("%q: %+v", kid, k)
			}
		}
	})
}
