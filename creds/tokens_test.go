package creds

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Tokens below were made by hand from base64url and HMAC, not by this package.
const (
	handMade  = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb29tIjoibG9iYnkiLCJuYW1lIjoiQW5uIiwic3ViIjoidTEiLCJwZXJtcyI6WyJraWNrIl0sImV4cCI6NDEwMjQ0NDgwMH0.-4RmzWw2KXOxJcJhKSktQfDgWo8vJwBsnG3pLXSvFhI"
	algNone   = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJyb29tIjoibG9iYnkiLCJuYW1lIjoiQW5uIiwic3ViIjoidTEiLCJwZXJtcyI6WyJraWNrIl0sImV4cCI6NDEwMjQ0NDgwMH0."
	algHS512  = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJyb29tIjoibG9iYnkiLCJuYW1lIjoiQW5uIiwic3ViIjoidTEiLCJwZXJtcyI6WyJraWNrIl0sImV4cCI6NDEwMjQ0NDgwMH0.CUWbj5pUkHTeh0wltWHwV8kFRccp4JPz5Fctr4sHsSwNuvcQWkF__CDYe39ivIFG6GYxctJ38pPN0Mot73-Frg"
	noExpiry  = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJyb29tIjoibG9iYnkifQ.bViyf_GbSSnUvU0LbCA1A7zQ1IoDaTGu-OecLeu5fKY"
	notAToken = "abc.def.ghi"
)

func newTokens(t *testing.T, secrets ...string) *Tokens {
	t.Helper()
	tokens, err := NewTokens(TokensOptions{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func TestTokenHandMade(t *testing.T) {
	got, err := newTokens(t, secretA).Verify(handMade, noon)
	if err != nil {
		t.Fatal(err)
	}
	want := Claims{Room: "lobby", Name: "Ann", Subject: "u1", Perms: []string{"kick"}, Expires: time.Unix(4102444800, 0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTokenRefused(t *testing.T) {
	tokens := newTokens(t, secretA)
	for name, token := range map[string]string{
		"alg none": algNone, "alg HS512": algHS512, "no expiry": noExpiry, "garbage": notAToken, "empty": "",
		"other secret": sign(t, newTokens(t, secretB)), "too long": strings.Repeat("a", maxToken+1),
		"changed": strings.Replace(handMade, "eyJyb29t", "eyJyb29u", 1),
	} {
		_, err := tokens.Verify(token, noon)
		if !errors.Is(err, ErrTokenInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && len(token) > 3 && strings.Contains(err.Error(), token) {
			t.Errorf("%s: the error quotes the token", name)
		}
	}
}

func sign(t *testing.T, tokens *Tokens) string {
	t.Helper()
	s, err := tokens.Sign(Claims{Room: "r", Expires: noon.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokenExpiry(t *testing.T) {
	tokens := newTokens(t, secretA)
	token := sign(t, tokens)
	if _, err := tokens.Verify(token, noon.Add(time.Hour-time.Second)); err != nil {
		t.Error(err)
	}
	if _, err := tokens.Verify(token, noon.Add(time.Hour+time.Second)); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("after its time: %v", err)
	}
	if _, err := tokens.Sign(Claims{Room: "r"}); err == nil {
		t.Error("a token without an expiry was signed")
	}
	if _, err := tokens.Sign(Claims{Name: strings.Repeat("n", maxToken), Expires: noon}); err == nil {
		t.Error("a token that Verify refuses was signed")
	}
}

func TestTokenRotation(t *testing.T) {
	tokens := newTokens(t, secretA)
	old := sign(t, tokens)
	if err := tokens.SetSecrets([]string{secretB, secretA}); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Verify(old, noon); err != nil {
		t.Errorf("the old secret still verifies: %v", err)
	}
	if sign(t, tokens) == old {
		t.Error("the new secret does not sign")
	}
	if err := tokens.SetSecrets([]string{"tiny"}); err == nil {
		t.Error("a short secret was admitted")
	}
	if _, err := NewTokens(TokensOptions{}); !errors.Is(err, ErrNoSecret) {
		t.Errorf("without a secret: %v", err)
	}
}
