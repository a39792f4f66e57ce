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
	"rtcd/address":          {},
	"rtcd/config":           {},
	"rtcd/creds":            {},
	"rtcd/internal/leak":    {},
	"rtcd/internal/testnet": {},
	"rtcd/machine":          {},
	"rtcd/ports":            {},
	"rtcd/probe":            {},
	"rtcd/signaling":        {"rtcd/creds"},

	"rtcd/turnsrv":       {"rtcd/creds", "rtcd/turnsrv/relay", "rtcd/turnsrv/udp"},
	"rtcd/turnsrv/relay": {},
	"rtcd/turnsrv/udp":   {},
	"rtcd/web":           {},
}

// dialects is where the hub's other protocols live: each may import the hub, and
// what dialects share.
const dialects = "rtcd/signaling/dialect/"

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Imports    []string
}

func (p listed) dialects() (out []string) {
	for _, i := range p.Imports {
		if strings.HasPrefix(i, dialects) {
			out = append(out, i)
		}
	}
	return out
}

func TestImportsGoOneWay(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
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
		if strings.HasPrefix(p.ImportPath, dialects) {
			allowed, known = append(p.dialects(), "rtcd/creds", "rtcd/signaling"), true
		}
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
