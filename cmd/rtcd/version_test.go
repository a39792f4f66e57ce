package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

// What is older than the last version with a hole is named.
func TestOldModulesAreNamed(t *testing.T) {
	var out strings.Builder
	deps := []*debug.Module{
		{Path: "github.com/pion/stun/v3", Version: "v3.0.1"},
		{Path: "github.com/pion/dtls/v3", Version: "v3.1.5"},
		{Path: "github.com/gorilla/websocket", Version: "v1.5.3", Replace: &debug.Module{Path: "github.com/gorilla/websocket", Version: "v1.4.0"}},
		{Path: "example.org/other", Version: "v0.0.1"},
	}
	err := printModules(&out, deps)
	if err == nil || !strings.Contains(err.Error(), "stun/v3 v3.0.1, github.com/gorilla/websocket v1.4.0;") {
		t.Error(err)
	}
	for _, want := range []string{"stun/v3 v3.0.1  TOO OLD, want v3.1.7\n", "dtls/v3 v3.1.5  ok, at least v3.1.4\n", "other v0.0.1\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
}

// The versions that this module asks for are new enough, and each that is watched is linked.
func TestVersionCheckPasses(t *testing.T) {
	var out, errs strings.Builder
	if code := run([]string{"version", "--check"}, &out, &errs); code != exitDone {
		t.Fatalf("exit status %d: %s", code, errs.String())
	}
	for path := range oldest {
		if !strings.Contains(out.String(), path+" v") {
			t.Errorf("%s is not in this binary", path)
		}
	}
}
