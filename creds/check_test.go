package creds

import "testing"

// What UserOfCheck makes, CheckOf takes apart, and nothing else.
func TestUserOfCheck(t *testing.T) {
	for _, restricted := range []bool{true, false} {
		user := UserOfCheck("abc", 7, restricted)
		if id, n := CheckOf(user); id != "abc" || n != 7 {
			t.Errorf("%q: %q %d", user, id, n)
		}
		if only, _ := Restricted(user); only != restricted {
			t.Errorf("%q: restricted %v", user, only)
		}
	}
	for _, user := range []string{"", "alice", "check.", "check.abc", "check.abc.", "check.abc.x", "check.abc.-1", "t.alice", "t.check.abc", "r.check.abc.1"} {
		if id, _ := CheckOf(user); id != "" {
			t.Errorf("%q is of the check %q", user, id)
		}
	}
}
