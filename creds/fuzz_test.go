package creds

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// grammar is the form of a username, said another way than the parser does.
var grammar = regexp.MustCompile(`^[0-9]{10}(:[^\p{C}\p{Zl}\p{Zp}]{1,255})?$`)

// FuzzParseUsername: what is taken is written again as it was, and is of the grammar.
func FuzzParseUsername(f *testing.F) {
	for _, s := range []string{
		"1767225600", "1767225600:a", "1767225600:@a:b", "1767225600:", "x", "1767225600:\xff", "+767225600:a", "176722560:a",
		"1767225600:a\r\nb", "1767225600:a\x00", "1767225600:%s", "17672256000", "1767225600:" + strings.Repeat("é", 128), "１767225600",
		"9999999999:\u202e", "0000000000:'\"<>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, username string) {
		expires, user, err := ParseUsername(username)
		if err != nil {
			return
		}
		if !grammar.MatchString(username) || len(user) > 255 {
			t.Errorf("%q is taken, but not of the grammar", username)
		}
		if got := formatUsername(expires, user); got != username {
			t.Errorf("%q became %q", username, got)
		}
		if user != "" && CheckUser(user) != nil {
			t.Errorf("%q has an unfit user part", username)
		}
	})
}

// FuzzKeys: only the passwords of the listed secrets open, for the user that the
// username says, until it expires or is revoked.
func FuzzKeys(f *testing.F) {
	f.Add("1767225600:alice", "x", "alice", int64(1767225599))
	f.Add("1767225600", "4ocLPHcOua9WMe3mOV4i5ww3B8I=", "", int64(1767225601))
	f.Add("1767225600:\n", "", "a", int64(0))
	f.Fuzz(func(t *testing.T, username, guess, revoked string, unix int64) {
		now := time.Unix(unix%maxExpiry, 0)
		k, err := NewKeys(KeysOptions{Secrets: []string{secretA, secretB}})
		if err != nil {
			t.Fatal(err)
		}
		login, ok := k.Verify(username, guess, now)
		if ok != slices.Contains(login.Passwords, guess) || login.Verdict == Malformed && ok {
			t.Fatalf("%q opens with %q: %v, %v", username, guess, ok, login.Verdict)
		}
		if login.Verdict != Malformed && !grammar.MatchString(username) {
			t.Fatalf("%q: %v", username, login.Verdict)
		}
		for i, secret := range []string{secretA, secretB} {
			if login.Verdict != Malformed && login.Passwords[i] != password([]byte(secret), username) {
				t.Fatalf("%q: not the password of secret %d", username, i)
			}
		}
		if login.Verdict == OK && !now.Before(login.Expires) {
			t.Fatalf("%q is good at %v", username, now)
		}
		k.Revoke(revoked, now.Add(time.Hour))
		again := k.Lookup(username, now)
		if wasRevoked := again.Verdict == Revoked; wasRevoked != (login.Verdict != Malformed && revoked != "" && revoked == login.User) {
			t.Fatalf("%q after %q is revoked: %v", username, revoked, again.Verdict)
		}
	})
}

// FuzzToken: no text opens a room but what was signed, as it was signed.
func FuzzToken(f *testing.F) {
	keys, err := NewTokens(TokensOptions{Secrets: []string{secretA, secretB}})
	if err != nil {
		f.Fatal(err)
	}
	other, err := NewTokens(TokensOptions{Secrets: []string{strings.Repeat("z", 32)}})
	if err != nil {
		f.Fatal(err)
	}
	good, err := keys.Sign(Claims{Room: "r", Name: "n", Subject: "s", Perms: []string{"kick"}, Expires: noon.Add(time.Hour)})
	if err != nil {
		f.Fatal(err)
	}
	foreign, _ := other.Sign(Claims{Room: "r", Expires: noon.Add(time.Hour)})
	head, rest, _ := strings.Cut(good, ".")
	body, mac, _ := strings.Cut(rest, ".")
	for _, s := range []string{
		good, foreign, "", ".", "..", head + "." + body + ".", head + "." + body, good + "=", good + ".", " " + good,
		good + "\n", body[:3] + "\r" + good[3:], malleable(good),
		"eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0." + body + ".", "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9." + body + "." + mac,
		head + ".e30." + mac, strings.ToUpper(good), strings.Repeat("a", maxToken+1),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := keys.Verify(token, noon)
		switch {
		case err == nil && token != good:
			t.Fatalf("opens: %q %+v", token, c)
		case err == nil && (c.Room != "r" || c.Name != "n" || c.Subject != "s" || !slices.Equal(c.Perms, []string{"kick"})):
			t.Fatalf("says something else: %+v", c)
		case err != nil && !errors.Is(err, ErrTokenInvalid) && !errors.Is(err, ErrTokenExpired):
			t.Fatalf("%v", err)
		case err != nil && len(token) > 8 && strings.Contains(err.Error(), token):
			t.Fatalf("the error tells the token: %v", err)
		}
		if _, err := keys.Verify(token, noon.Add(2*time.Hour)); err == nil {
			t.Fatalf("%q is good after its time", token)
		}
	})
}

// malleable is the token with another last character: of its six bits two say nothing.
func malleable(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(token) - 1
	return token[:last] + string(alphabet[strings.IndexByte(alphabet, token[last])^1])
}
