package creds

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strconv"
	"strings"
	"time"
)

// SignedBy is the place, from 1, in the list of secrets of the one that signed
// username with password; 0 if none did.
func (k *Keys) SignedBy(username, password string) int {
	login := k.Lookup(username, time.Time{})
	place := 0
	for i, p := range login.Passwords {
		place = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare([]byte(p), []byte(password)), i+1, place)
	}
	return place
}

// Mistake says in what way password was made wrongly of username and one of the secrets,
// as far as that can be found out; "" if it cannot: then it is of another secret, or of
// none. It is for whoever has the secrets anyway, never for an answer to a client.
func (k *Keys) Mistake(username, password string) string {
	expiry, user, _ := strings.Cut(username, ":")
	for _, secret := range *k.secrets.Load() {
		right := sum(sha1.New, secret, username)
		for _, m := range []struct{ password, what string }{
			{hex.EncodeToString(right), "it is in hexadecimal; want base64"},
			{base64.RawStdEncoding.EncodeToString(right), "it lacks the = at the end of base64"},
			{base64.URLEncoding.EncodeToString(right), "it is in the alphabet for URLs (- and _); want that with + and /"},
			{base64.RawURLEncoding.EncodeToString(right), "it is in the alphabet for URLs (- and _) and lacks the = at the end; want base64 with + and /"},
			{encoded(sum(sha256.New, secret, username)), "it was made with SHA-256; want HMAC-SHA1"},
			{encoded(sum(sha1.New, secret, username+"\n")), "the username was signed with a line break at its end; use printf, not echo"},
			{encoded(sum(sha1.New, append(secret[:len(secret):len(secret)], '\n'), username)), "the secret was taken with the line break at the end of its file"},
			{encoded(sum(sha1.New, secret, expiry)), "only the expiry was signed; want the whole username"},
			{encoded(sum(sha1.New, secret, user)), "only the part after the colon was signed; want the whole username"},
			{encoded(sum(sha1.New, []byte(username), string(secret))), "secret and username changed places: the secret is the key of the HMAC"},
			{string(secret), "it is the secret itself; want base64(HMAC-SHA1(secret, username))"},
		} {
			if hmac.Equal([]byte(m.password), []byte(password)) {
				return m.what
			}
		}
		if binary, err := hex.DecodeString(string(secret)); err == nil && encoded(sum(sha1.New, binary, username)) == password {
			return "the secret was taken for hexadecimal; its letters themselves are the key"
		}
	}
	return ""
}

// Misshapen says what a username that is none looks like; "" if like nothing.
func Misshapen(username string) string {
	expiry, rest, _ := strings.Cut(username, ":")
	if _, err := strconv.ParseUint(expiry, 10, 64); err == nil && len(expiry) == 13 {
		return "the expiry is in milliseconds; want seconds, ten digits"
	} else if err == nil && len(expiry) < expiryDigits {
		return "the expiry has " + strconv.Itoa(len(expiry)) + " digits, which looks like a lifetime; want the moment of the end in Unix seconds"
	}
	if _, err := strconv.ParseUint(rest, 10, 64); err == nil && len(rest) == expiryDigits {
		return "user and expiry changed places; want EXPIRY:USER"
	}
	return ""
}

func sum(h func() hash.Hash, key []byte, text string) []byte {
	mac := hmac.New(h, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func encoded(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
