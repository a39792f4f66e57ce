package creds

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

func TestMistakesOfThoseWhoSign(t *testing.T) {
	const old, name = secretB, "4102444800:mel"
	key := []byte(secretA)
	k := newKeys(t, KeysOptions{Secrets: []string{secretA, old}})
	binary, err := hex.DecodeString(old)
	if err != nil {
		t.Fatal(err)
	}
	for what, password := range map[string]string{
		"hexadecimal; want base64":          hex.EncodeToString(sum(sha1.New, key, name)),
		"lacks the =":                       strings.TrimRight(encoded(sum(sha1.New, key, name)), "="),
		"SHA-256":                           encoded(sum(sha256.New, key, name)),
		"printf, not echo":                  encoded(sum(sha1.New, key, name+"\n")),
		"line break at the end of its file": encoded(sum(sha1.New, []byte(secretA+"\n"), name)),
		"only the expiry":                   encoded(sum(sha1.New, key, "4102444800")),
		"only the part after":               encoded(sum(sha1.New, key, "mel")),
		"changed places":                    encoded(sum(sha1.New, []byte(name), old)),
		"the secret itself":                 old,
		"taken for hexadecimal":             encoded(sum(sha1.New, binary, name)),
	} {
		if got := k.Mistake(name, password); !strings.Contains(got, what) {
			t.Errorf("%s: %q", what, got)
		}
	}
	for _, password := range []string{"", "x", encoded(sum(sha1.New, []byte("another secret"), name))} {
		if got := k.Mistake(name, password); got != "" {
			t.Errorf("%q is of no secret of ours, but %q", password, got)
		}
	}
	// A password in which the two alphabets differ.
	for i := range 100 {
		name := formatUsername(time.Unix(4102444800+int64(i), 0), "mel")
		mac := sum(sha1.New, key, name)
		if url := base64.URLEncoding.EncodeToString(mac); url != encoded(mac) {
			if got := k.Mistake(name, url); !strings.Contains(got, "alphabet for URLs") {
				t.Errorf("%s: %q", url, got)
			}
			return
		}
	}
	t.Error("none of a hundred passwords has a + or a /")
}

func TestSignedByTellsWhichSecret(t *testing.T) {
	const old = secretB
	k := newKeys(t, KeysOptions{Secrets: []string{secretA, old}})
	const name = "4102444800:mel"
	for password, want := range map[string]int{
		password([]byte(secretA), name): 1, password([]byte(old), name): 2, "neither": 0, "": 0,
	} {
		if got := k.SignedBy(name, password); got != want {
			t.Errorf("%q is signed by secret %d, want %d", password, got, want)
		}
	}
}

func TestMisshapenUsernames(t *testing.T) {
	for name, what := range map[string]string{
		"1767225600000:mel": "milliseconds", "1767225600000": "milliseconds", "86400:mel": "lifetime", "mel:1767225600": "changed places",
		"mel": "", "": "", "mel:x": "", "17672256000:mel": "",
	} {
		if got := Misshapen(name); !strings.Contains(got, what) || (what == "") != (got == "") {
			t.Errorf("%q: %q, want %q", name, got, what)
		}
	}
}
