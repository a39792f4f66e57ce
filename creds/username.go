package creds

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	expiryDigits = 10  // until the year 2286
	maxUser      = 255 // bytes after the first colon
	maxExpiry    = 9999999999
)

// ParseUsername takes a TURN REST username apart: its expiry and the user part
// after the first colon ("" when there is none). It checks the form only, not
// the time.
//
//	1767225600                        → user ""
//	1767225600:alice                  → user "alice"
//	1767225600:@alice:example.org     → user "@alice:example.org" (Synapse)
func ParseUsername(username string) (expires time.Time, user string, err error) {
	if len(username) < expiryDigits {
		return time.Time{}, "", errors.New("username is shorter than ten digits")
	}
	var unix int64
	for _, c := range []byte(username[:expiryDigits]) {
		if c < '0' || c > '9' {
			return time.Time{}, "", errors.New("username does not begin with ten digits")
		}
		unix = unix*10 + int64(c-'0')
	}
	rest := username[expiryDigits:]
	if rest == "" {
		return time.Unix(unix, 0), "", nil
	}
	user, colon := strings.CutPrefix(rest, ":")
	if !colon {
		return time.Time{}, "", errors.New("username has something other than a colon after ten digits")
	}
	if err := CheckUser(user); err != nil {
		return time.Time{}, "", err
	}
	return time.Unix(unix, 0), user, nil
}

// CheckUser tells whether user can be the user part of a username: 1–255 bytes
// of printable UTF-8.
func CheckUser(user string) error {
	switch {
	case user == "":
		return errors.New("user part is empty")
	case len(user) > maxUser:
		return fmt.Errorf("user part has %d bytes, at most %d are allowed", len(user), maxUser)
	case !utf8.ValidString(user):
		return errors.New("user part is not valid UTF-8")
	}
	for i, r := range user {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("user part has an unprintable character at byte %d", i)
		}
	}
	return nil
}

func formatUsername(expires time.Time, user string) string {
	unix := min(max(expires.Unix(), 0), maxExpiry)
	if user == "" {
		return fmt.Sprintf("%010d", unix)
	}
	return fmt.Sprintf("%010d:%s", unix, user)
}

// Users whose user part begins with one of these prefixes may only relay to
// other relay addresses of the same server, so their credentials are useless
// for reaching anything else.
const (
	// PrefixCheck marks the credentials of the check page, which anybody may get
	// where `check: open`; their allocations are also capped in bytes.
	PrefixCheck = "check."
	// PrefixRestricted marks credentials handed out without authentication on a
	// public address (`auth: none` without `public: true`).
	PrefixRestricted = "r."

	// CheckTTL is the lifetime of a credential of the check page.
	CheckTTL = 60 * time.Second
	// CheckBytes caps what one allocation of the check page may relay, both
	// directions together: enough for a measurement of a few seconds.
	CheckBytes = 64 << 20
)

// prefixTraced marks the credentials of a check that the bearer of a join token runs:
// they reach what the bearer's others do.
const prefixTraced = "t." + PrefixCheck

// UserOfCheck is the user part of the nth credential of a check. Restricted ones reach this server's relayed addresses only.
func UserOfCheck(id string, n int, restricted bool) string {
	if restricted {
		return fmt.Sprintf("%s%s.%d", PrefixCheck, id, n)
	}
	return fmt.Sprintf("%s%s.%d", prefixTraced, id, n)
}

// CheckOf tells whose check a user part belongs to, and which of its credentials it is;
// id is "" for every other user.
func CheckOf(user string) (id string, n int) {
	rest, ok := strings.CutPrefix(user, prefixTraced)
	if !ok {
		if rest, ok = strings.CutPrefix(user, PrefixCheck); !ok {
			return "", 0
		}
	}
	id, number, ok := strings.Cut(rest, ".")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 {
		return "", 0
	}
	return id, n
}

// Restricted tells what the user part of a username confines its owner to:
// relay-to-relay traffic, and maxBytes per allocation (0 = no cap).
func Restricted(user string) (relayOnly bool, maxBytes int64) {
	switch {
	case strings.HasPrefix(user, PrefixCheck):
		return true, CheckBytes
	case strings.HasPrefix(user, PrefixRestricted):
		return true, 0
	}
	return false, 0
}
