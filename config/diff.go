package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Change is one key whose value differs between two configurations.
type Change struct {
	Path     string `json:"key"`
	Old, New string `json:"-"` // as in [Field.Text]; "********" for a secret
	Live     bool   `json:"-"` // a running process takes the new value
}

// String tells the change to people: "turn.limits.channels: 64 → 32".
func (c Change) String() string {
	return fmt.Sprintf("%s: %s → %s", c.Path, cmp.Or(c.Old, `""`), cmp.Or(c.New, `""`))
}

// Diff lists the keys whose values differ, in the order of the file.
func Diff(before, after *Loaded) []Change {
	var changes []Change
	was := Fields(&before.Config)
	for i, f := range Fields(&after.Config) {
		change := Change{Path: f.Path, Old: was[i].Text(), New: f.Text(), Live: f.Live}
		if change.Old == change.New {
			continue
		}
		if f.Secret {
			change.Old, change.New = masked(change.Old), masked(change.New)
		}
		changes = append(changes, change)
	}
	if before.TLSMode() != after.TLSMode() && !slices.ContainsFunc(changes, isRestart) {
		// tls.mode is auto, and what it stands for changes with a live key.
		changes = append(changes, Change{Path: "tls.mode", Old: string(before.TLSMode()), New: string(after.TLSMode())})
	}
	return changes
}

func isRestart(c Change) bool { return !c.Live }

// masked hides a secret, but for whether there is one.
func masked(secret string) string { return strings.Repeat("*", 8*min(1, len(secret))) }
