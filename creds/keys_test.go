package creds

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const (
	secretA = "0123456789abcdef0123456789abcdef"
	secretB = "fedcba9876543210fedcba9876543210"
)

var noon = time.Unix(1767225600, 0)

func newKeys(t *testing.T, o KeysOptions) *Keys {
	t.Helper()
	if o.Secrets == nil {
		o.Secrets = []string{secretA}
	}
	k, err := NewKeys(o)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The passwords were computed with
// printf USERNAME | openssl dgst -sha1 -hmac SECRET -binary | base64,
// which is what coturn's users paste.
func TestCoturnVectors(t *testing.T) {
	for _, v := range []struct{ secret, username, password, user string }{
		{"north", "1433895918:mel", "sV+1UPlQ/q+k2cumwZQGMGuv+/s=", "mel"},
		{secretA, "1767225600", "4ocLPHcOua9WMe3mOV4i5ww3B8I=", ""},
		{secretA, "1767225600:@alice:example.org", "S5GA9//JUSCFGPEVhVrCmCyKros=", "@alice:example.org"},
		{"sécret de trente-deux octets!!!", "4102444800:r.张三", "MY95yTSZ5fHERxJZ6X+Kbsd6JiE=", "r.张三"},
	} {
		k := newKeys(t, KeysOptions{Secrets: []string{v.secret}, AllowShort: true})
		login, ok := k.Verify(v.username, v.password, time.Unix(0, 0))
		if !ok || login.Verdict != OK || login.User != v.user {
			t.Errorf("%s: match %t, %+v", v.username, ok, login)
		}
	}
}

func TestIssueAndLookup(t *testing.T) {
	k := newKeys(t, KeysOptions{Secrets: []string{secretA, secretB}})
	c := k.Issue("alice", time.Hour, noon.Add(300*time.Millisecond))
	if c.Username != "1767229200:alice" || !c.Expires.Equal(noon.Add(time.Hour)) || c.TTL != time.Hour {
		t.Fatalf("issued %+v", c)
	}
	login := k.Lookup(c.Username, noon)
	if login.Verdict != OK || len(login.Passwords) != 2 || login.Passwords[0] != c.Password {
		t.Errorf("the first secret signs: %+v", login)
	}
	if _, ok := k.Verify(c.Username, c.Password+"x", noon); ok {
		t.Error("a longer password must not match")
	}
	if _, ok := k.Verify(c.Username, "", noon); ok {
		t.Error("an empty password must not match")
	}
	if got := k.Issue("", time.Minute, noon).Username; got != "1767225660" {
		t.Errorf("without a user: %q", got)
	}
	if got := k.Issue("x", 1<<63-1, noon).Username; got != "9999999999:x" {
		t.Errorf("an endless lifetime gives ten digits: %q", got)
	}
}

func TestVerdicts(t *testing.T) {
	k := newKeys(t, KeysOptions{})
	c := k.Issue("alice", time.Minute, noon)
	wantVerdict := func(username string, at time.Time, want Verdict) {
		t.Helper()
		login := k.Lookup(username, at)
		if login.Verdict != want {
			t.Errorf("%q: %v, want %v", username, login.Verdict, want)
		}
		if (len(login.Passwords) == 0) != (want == Malformed) {
			t.Errorf("%q: %d passwords with verdict %v", username, len(login.Passwords), want)
		}
	}
	wantVerdict(c.Username, c.Expires.Add(-time.Second), OK)
	wantVerdict(c.Username, c.Expires, Expired)
	k.Revoke("alice", c.Expires)
	wantVerdict(c.Username, noon, Revoked)
	wantVerdict("1767225660:bob", noon, OK)
	k.Revoke("", c.Expires)
	wantVerdict("1767225660", noon, OK)
	for _, bad := range []string{
		"", "alice", "176722566", "176722566x:alice", "1767225660:", "17672256601", "1767225660alice",
		" 1767225660:alice", "1767225660:a\x00b", "1767225660:a\nb", "1767225660:\xff",
		"1767225660:" + strings.Repeat("a", 256), "1767225660:a\u200bb", "-767225660:a", "+767225660:a",
	} {
		wantVerdict(bad, noon, Malformed)
	}
	wantVerdict("1767225660:"+strings.Repeat("a", 255), noon, OK)
	wantVerdict("1767225660:張 三::", noon, OK)
}

func TestRevocationEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeys(t, KeysOptions{MaxRevoked: 2})
		c := k.Issue("alice", time.Hour, time.Now())
		wantRevoked := func(want bool) {
			t.Helper()
			if got := k.Lookup(c.Username, time.Now()).Verdict == Revoked; got != want {
				t.Errorf("after %v: revoked is %t", c.TTL-time.Until(c.Expires), got)
			}
		}
		k.Revoke("alice", time.Now().Add(10*time.Minute))
		k.Revoke("alice", time.Now().Add(5*time.Minute)) // the later end holds
		time.Sleep(10*time.Minute - time.Nanosecond)
		wantRevoked(true)
		time.Sleep(time.Nanosecond)
		wantRevoked(false)
		if n := len(k.revoked.byUser); n != 0 {
			t.Errorf("%d revocations are still held", n)
		}

		k.Revoke("alice", time.Now().Add(time.Minute))
		k.Revoke("bob", time.Now().Add(time.Hour))
		k.Revoke("carol", time.Now().Add(time.Hour)) // no room: what ends first goes
		wantRevoked(false)
		if n := len(k.revoked.byUser); n != 2 || len(k.revoked.byEnd) != 2 {
			t.Errorf("%d users and %d ends are held, want 2", n, len(k.revoked.byEnd))
		}
	})
}

func TestRotation(t *testing.T) {
	k := newKeys(t, KeysOptions{})
	old := k.Issue("alice", time.Hour, noon)
	works := func() bool { _, ok := k.Verify(old.Username, old.Password, noon); return ok }
	rotate := func(secrets ...string) {
		t.Helper()
		if err := k.SetSecrets(secrets); err != nil {
			t.Fatal(err)
		}
	}
	rotate(secretB, secretA)
	if !works() || k.Issue("alice", time.Hour, noon).Password == old.Password {
		t.Error("the new secret must sign and the old one still verify")
	}
	rotate(secretB)
	if works() {
		t.Error("the old secret is gone")
	}
	for _, bad := range [][]string{nil, {secretA, ""}, {"short but secret"}, {secretA, secretA}} {
		err := k.SetSecrets(bad)
		if err == nil {
			t.Errorf("%q was admitted", bad)
		} else if strings.Contains(err.Error(), "short but secret") {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	if works() {
		t.Error("a refused list must change nothing")
	}
}

// The hash was computed with printf '1767229200:alice:rtc.example' | sha256sum.
func TestUserhash(t *testing.T) {
	const hexHash = "7397b5deb1a3d8807148ea3f72936f1424e11bf404658971d6fd469edbd912aa"
	k := newKeys(t, KeysOptions{Realm: "rtc.example"})
	var hash [32]byte
	if _, err := hex.Decode(hash[:], []byte(hexHash)); err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Username(hash); ok {
		t.Fatal("known before it was issued")
	}
	c := k.Issue("alice", time.Hour, noon)
	if got, ok := k.Username(hash); !ok || got != c.Username {
		t.Errorf("got %q, %t", got, ok)
	}
}

func TestIssuedIsBounded(t *testing.T) {
	k := newKeys(t, KeysOptions{MaxIssued: 8})
	issue := func(user string, now time.Time) {
		t.Helper()
		c := k.Issue(user, time.Hour, now)
		if _, ok := k.Username(sha256.Sum256([]byte(c.Username + ":"))); !ok {
			t.Fatalf("%s is forgotten at once", c.Username)
		}
	}
	for i := range 100 {
		issue(fmt.Sprintf("u%d", i), noon)
	}
	if n := len(k.issued.usernames); n != 8 {
		t.Errorf("%d entries, want 8", n)
	}
	issue("late", noon.Add(time.Hour)) // when all others have expired
	if n := len(k.issued.usernames); n != 1 {
		t.Errorf("%d entries after the others' time, want 1", n)
	}
}

func TestRestricted(t *testing.T) {
	for user, want := range map[string]struct {
		relayOnly bool
		maxBytes  int64
	}{
		"": {}, "alice": {}, "check": {}, "r": {}, "rr.x": {},
		"check.7f": {true, CheckBytes}, "r.alice": {true, 0},
	} {
		if relayOnly, maxBytes := Restricted(user); relayOnly != want.relayOnly || maxBytes != want.maxBytes {
			t.Errorf("%q: %t %d", user, relayOnly, maxBytes)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	k := newKeys(t, KeysOptions{MaxIssued: 16, MaxRevoked: 16})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				user := fmt.Sprintf("u%d.%d", g, i)
				c := k.Issue(user, time.Hour, noon)
				if _, ok := k.Verify(c.Username, c.Password, noon); !ok {
					t.Errorf("%s does not verify", user)
				}
				k.Revoke(user, c.Expires)
				if err := k.SetSecrets([]string{secretA}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// RFC 5869 with SHA-256, info "rtcd turn nonce", computed by an independent
// implementation (see the HMAC chain: PRK = HMAC(0³², ikm), T1 = HMAC(PRK, info‖1)).
func TestDerive(t *testing.T) {
	got := hex.EncodeToString(Derive([]byte(secretA), PurposeNonce, 32))
	if want := "6f896d0d7d0dcf94e4819a05993862841d34eb13858ee0aca9d621723afcd7b3"; got != want {
		t.Errorf("got %s", got)
	}
	if got == hex.EncodeToString(Derive([]byte(secretA), PurposeResume, 32)) {
		t.Error("two purposes give one key")
	}
}

// A clock that is set back makes a credential last longer by as much, and no more.
func TestTheClockIsSetBack(t *testing.T) {
	k := newKeys(t, KeysOptions{Secrets: []string{secretA}})
	c := k.Issue("alice", time.Hour, noon)
	for _, jump := range []time.Duration{time.Hour, 24 * time.Hour} {
		for after, want := range map[time.Duration]Verdict{
			time.Hour + jump - time.Second: OK, time.Hour + jump + time.Second: Expired,
		} {
			if got := k.Lookup(c.Username, noon.Add(after-jump)).Verdict; got != want {
				t.Errorf("set back by %v, %v after it was issued: %v, want %v", jump, after, got, want)
			}
		}
	}
}

// What is listed has no end, however long a credential lives.
func TestListedUsersAreRevokedForGood(t *testing.T) {
	k := newKeys(t, KeysOptions{Revoked: []string{"frigate"}})
	long := k.Issue("frigate", 5*365*24*time.Hour, time.Now())
	other := k.Issue("go2rtc", time.Hour, time.Now())
	want := func(username string, at time.Time, want Verdict) {
		t.Helper()
		if got := k.Lookup(username, at).Verdict; got != want {
			t.Errorf("%s is %v, want %v", username, got, want)
		}
	}
	want(long.Username, time.Now().Add(4*365*24*time.Hour), Revoked)
	want(other.Username, time.Now(), OK)
	k.SetRevoked([]string{"go2rtc", ""})
	want(long.Username, time.Now(), OK)
	want(other.Username, time.Now(), Revoked)
	want(k.Issue("", time.Hour, time.Now()).Username, time.Now(), OK)
}
