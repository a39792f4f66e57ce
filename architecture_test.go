// Package rtcd_test holds the rules of the house that no single package can hold.
package rtcd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// mayImport says which of our packages each package may import, tests apart; see
// ARCHITECTURE.md. cmd/rtcd may import all.
var mayImport = map[string][]string{
	"rtcd/config":           {},
	"rtcd/creds":            {},
	"rtcd/internal/testnet": {},
	"rtcd/probe":            {},
	"rtcd/signaling":        {"rtcd/creds"},

	"rtcd/signaling/dialect/dialecttest":     {"rtcd/creds", "rtcd/signaling", "rtcd/signaling/dialect/socketio", "rtcd/signaling/dialect/socketio/engine"},
	"rtcd/signaling/dialect/socketio":        {"rtcd/creds", "rtcd/signaling", "rtcd/signaling/dialect/socketio/engine"},
	"rtcd/signaling/dialect/socketio/engine": {},

	"rtcd/turnsrv":       {"rtcd/creds", "rtcd/turnsrv/relay", "rtcd/turnsrv/udp"},
	"rtcd/turnsrv/relay": {},
	"rtcd/turnsrv/udp":   {},
	"rtcd/web":           {},
}

func TestImportsGoOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen[p.ImportPath] = true
		if p.ImportPath == "rtcd" || strings.HasPrefix(p.ImportPath, "rtcd/cmd/") {
			continue
		}
		allowed, known := mayImport[p.ImportPath]
		if !known {
			t.Errorf("%s: a new room: give it a line in this table and in ARCHITECTURE.md", p.ImportPath)
		}
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "rtcd/") && !slices.Contains(allowed, i) {
				t.Errorf("%s imports %s, which it must not", p.ImportPath, i)
			}
		}
	}
	for p := range mayImport {
		if !seen[p] {
			t.Errorf("%s is in the table but not in the tree", p)
		}
	}
}
