// Package rtcd_test holds the rules of the house that no single package can hold.
package rtcd_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport says which of our packages each package may import, tests apart; see
// ARCHITECTURE.md. cmd/rtcd may import all.
var mayImport = map[string][]string{
	"rtcd/acme":             {},
	"rtcd/address":          {},
	"rtcd/accounting":       {},
	"rtcd/config":           {},
	"rtcd/creds":            {},
	"rtcd/integrate":        {},
	"rtcd/diagnosis":        {"rtcd/creds", "rtcd/turnsrv/relay"},
	"rtcd/internal/leak":    {},
	"rtcd/internal/rawtcp":  {},
	"rtcd/internal/testnet": {},
	"rtcd/machine":          {},
	"rtcd/ports":            {},
	"rtcd/mux":              {},
	"rtcd/probe":            {},
	"rtcd/portmap":          {},
	"rtcd/selftest":         {"rtcd/probe"},
	"rtcd/signaling":        {"rtcd/creds", "rtcd/internal/rawtcp"},

	"rtcd/internal/pulse":      {},
	"rtcd/internal/supervisor": {},

	"rtcd/turnsrv":       {"rtcd/creds", "rtcd/internal/rawtcp", "rtcd/turnsrv/relay", "rtcd/turnsrv/udp"},
	"rtcd/turnsrv/relay": {},
	"rtcd/turnsrv/udp":   {},
	"rtcd/web":           {},
	"rtcd/webhook":       {"rtcd/creds"},
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

// The relay's core decides and does nothing: no socket, no clock, no goroutine.
func TestTheCoreIsPure(t *testing.T) {
	files := token.NewFileSet()
	names, err := filepath.Glob("turnsrv/relay/*.go")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(files, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%v: a goroutine", files.Position(n.Pos()))
			case *ast.ImportSpec:
				if name := strings.Trim(n.Path.Value, `"`); slices.Contains([]string{"context", "net", "os", "syscall"}, name) ||
					path.Dir(name) == "golang.org/x/sys" {
					t.Errorf("%v: imports %s", files.Position(n.Pos()), name)
				}
			case *ast.SelectorExpr:
				if of, ok := n.X.(*ast.Ident); ok && of.Name == "time" && slices.Contains([]string{
					"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker",
				}, n.Sel.Name) {
					t.Errorf("%v: looks at the clock", files.Position(n.Pos()))
				}
			}
			return true
		})
	}
}
