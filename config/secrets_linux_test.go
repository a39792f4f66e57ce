package config

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A secret that only root may read comes by the service manager, under the same name.
func TestSecretsThatTheServiceManagerHandsOver(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become somebody who may not read a file")
	}
	const ofRoot, handed = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	etc, credentials := t.TempDir(), t.TempDir()
	if err := os.Chmod(filepath.Dir(etc), 0o711); err != nil { // of both
		t.Fatal(err)
	}
	for path, text := range map[string]string{
		filepath.Join(etc, "turn.secret"): ofRoot, filepath.Join(etc, "other.secret"): ofRoot,
		filepath.Join(credentials, "turn.secret"): handed,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(credentials, "turn.secret"), 0o444); err != nil {
		t.Fatal(err)
	}
	as := func(user int, text string) (*Loaded, error) {
		runtime.LockOSThread() // until its end: the thread stays who it has become
		unix.Setfsuid(user)
		defer func() { unix.Setfsuid(0); runtime.UnlockOSThread() }()
		return Load(Input{
			File: filepath.Join(etc, "config.yaml"), Data: []byte(text),
			Environ: []string{"CREDENTIALS_DIRECTORY=" + credentials},
		})
	}
	const nobody = 65534
	l, err := as(nobody, "turn: {secret_file: turn.secret}")
	if err != nil {
		t.Fatal(err)
	}
	if l.Turn.Secrets[0] != handed || len(l.Warnings) != 0 {
		t.Errorf("secrets from %v, warnings %q", l.From["turn.secrets"], l.Warnings)
	}
	if files := l.SecretFiles(); len(files) != 1 || filepath.Dir(files[0]) != credentials {
		t.Errorf("it would watch %q", files)
	}
	// Who may read the file itself reads it, and its changes.
	if l, err = as(0, "turn: {secret_file: turn.secret}"); err != nil || l.Turn.Secrets[0] != ofRoot {
		t.Errorf("%v %v", l, err)
	}
	if _, err = as(nobody, "turn: {secret_file: other.secret}"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("of a file that nobody handed over: %v", err)
	}
}
