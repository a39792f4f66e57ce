package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// secretFiles pairs each secret with the key that names a file of it.
func (c *Config) secretFiles() []struct {
	path, filePath string
	list           *List[string]
	file           string
} {
	return []struct {
		path, filePath string
		list           *List[string]
		file           string
	}{
		{"turn.secrets", "turn.secret_file", &c.Turn.Secrets, c.Turn.SecretFile},
		{"turn.api_keys", "turn.api_key_file", &c.Turn.APIKeys, c.Turn.APIKeyFile},
		{"webhooks.secrets", "webhooks.secret_file", &c.Webhooks.Secrets, c.Webhooks.SecretFile},
		{"signaling.token_secrets", "signaling.token_secret_file", &c.Signaling.TokenSecrets, c.Signaling.TokenSecretFile},
	}
}

// readSecretFiles fills in the secrets that are kept in files. A file without a
// secret is a fault: falling back to another secret would hide the mistake. A file that
// only root may read is taken from the service manager, which was told to hand over a
// copy under the same name (systemd's LoadCredential=).
func (l *loader) readSecretFiles() {
	for _, s := range l.secretFiles() {
		if s.file == "" {
			continue
		}
		if len(*s.list) > 0 {
			l.fault(s.filePath, "%s is given too (%s); keep one of them", s.path, l.From[s.path])
			continue
		}
		name := l.Resolve(s.filePath, s.file)
		secrets, err := ReadSecrets(name)
		handed := ""
		if errors.Is(err, fs.ErrPermission) && l.credentials != "" {
			handed = filepath.Join(l.credentials, filepath.Base(name))
			if list, e := ReadSecrets(handed); e == nil {
				secrets, err, name = list, nil, handed
			}
		}
		if err != nil {
			l.fault(s.filePath, "%s", err)
			continue
		}
		*s.list = secrets
		l.From[s.path] = Provenance{Source: name}
		if name != handed { // whose modes are the manager's
			l.warnOpenFile(name)
		}
	}
	if l.File != "" && len(l.data) > 0 && l.holdsSecret() {
		l.warnOpenFile(l.File)
	}
}

// SecretFiles lists the files that secrets were read from, as paths that can be opened.
func (l *Loaded) SecretFiles() (names []string) {
	for _, s := range l.secretFiles() {
		if s.file != "" {
			names = append(names, l.From[s.path].Source)
		}
	}
	return names
}

func (l *loader) holdsSecret() bool {
	for _, f := range l.fields {
		if f.Secret && l.From[f.Path].Line > 0 && f.Text() != "" {
			return true
		}
	}
	return false
}

func (l *loader) warnOpenFile(name string) {
	if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
		l.Warnings = append(l.Warnings, fmt.Sprintf("%s holds a secret and has mode %04o: others on this machine can read it; chmod 600 %s",
			name, info.Mode().Perm(), name))
	}
}

// Resolve returns the path of the file that the key at path names: relative to the
// configuration file if that names it, else to the working directory.
func (l *Loaded) Resolve(path, name string) string {
	if name == "" || filepath.IsAbs(name) || l.File == "" || l.From[path].Source != l.File {
		return name
	}
	return filepath.Join(filepath.Dir(l.File), name)
}

// ReadSecrets reads a file with one secret per line; empty lines and spaces around
// a secret do not count.
func ReadSecrets(name string) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var secrets []string
	for line := range strings.Lines(string(data)) {
		if s := strings.TrimSpace(line); s != "" {
			secrets = append(secrets, s)
		}
	}
	if len(secrets) == 0 {
		return nil, fmt.Errorf("%s is empty: it must hold a secret", name)
	}
	return secrets, nil
}
