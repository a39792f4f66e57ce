package packages

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is released is complete, stands on its own, and says what it is made of.
func TestRelease(t *testing.T) {
	sums := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	sums.Dir = world.release
	if out, err := sums.CombinedOutput(); err != nil || strings.Count(string(out), ": OK") != 3 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	program, err := elf.Open(world.program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("the program needs %q (%v)", libraries, err)
	}
	out, err := exec.Command(world.program, "version").Output()
	if err != nil || !strings.HasPrefix(string(out), "rtcd "+version+" linux/amd64") {
		t.Errorf("rtcd version: %q, %v", out, err)
	}
	wantBill(t, world.program)
}

// wantBill compares the bill of materials with what the linker wrote into the program.
func wantBill(t *testing.T, program string) {
	t.Helper()
	data, err := os.ReadFile(program + ".cdx.json")
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(data, &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BOMFormat != "CycloneDX" || bill.Metadata.Component.Version != version {
		t.Errorf("%s of %+v", bill.BOMFormat, bill.Metadata.Component)
	}
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Deps {
		if !slices.ContainsFunc(bill.Components, func(c struct{ Name, Version string }) bool { return c.Name == m.Path && c.Version == m.Version }) {
			t.Errorf("the bill of materials lacks %s %s", m.Path, m.Version)
		}
	}
}

// The same sources give the same bytes, wherever they lie, for all processors.
func TestReleaseIsReproducible(t *testing.T) {
	if !long {
		t.Skip("it builds twice; make e2e does it")
	}
	const arches = "amd64 arm64"
	first := t.TempDir()
	if err := release("../..", first, arches); err != nil {
		t.Fatal(err)
	}
	sources, second := t.TempDir(), t.TempDir()
	copied := exec.Command("sh", "-c", `git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - | tar -xf - -C "$1"`, "sh", sources)
	copied.Dir = "../.."
	if out, err := copied.CombinedOutput(); err != nil {
		t.Fatalf("copy the sources: %v\n%s", err, out)
	}
	if err := release(sources, second, arches); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(first, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(second, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, got) {
		t.Errorf("two builds differ:\n%s\n%s", want, got)
	}
}
