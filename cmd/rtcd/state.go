package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/turnsrv/relay"
)

// stateDir is where rtcd keeps what it generates: $STATE_DIRECTORY (systemd), else
// $XDG_STATE_HOME/rtcd, else ~/.local/state/rtcd. It need not exist.
func stateDir() (string, error) {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "rtcd"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no state directory: set STATE_DIRECTORY: %w", err)
	}
	return filepath.Join(home, ".local", "state", "rtcd"), nil
}

// The files of the state directory.
const (
	turnSecretFile  = "turn.secret"
	tokenSecretFile = "token.secret"
	masterKeyFile   = "master.key"
	adminTokenFile  = "admin.token"
	webhookFile     = "webhook.secret"
)

// secrets is everything secret that a process works with.
type secrets struct {
	turn, token []string
	webhook     []string // none where no webhook is configured
	allowShort  bool
	revoked     []string          // users
	sources     map[string]string // what → where it came from, for `rtcd check`
	files       []string          // those that turn and token were read from
}

// loadSecrets takes secrets from the configuration, else from systemd's
// credentials directory, else from the state directory, where they are generated
// when they are missing.
func loadSecrets(c *config.Loaded) (*secrets, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	s := &secrets{allowShort: c.Turn.AllowShortSecret, revoked: c.Turn.Revoked, sources: map[string]string{}, files: c.SecretFiles()}
	pick := func(what string, configured []string, key, file string) ([]string, error) {
		if len(configured) > 0 {
			s.sources[what] = c.From[key].String()
			return configured, nil
		}
		if name := credential(file); name != "" {
			s.sources[what], s.files = name, append(s.files, name)
			return config.ReadSecrets(name)
		}
		name := filepath.Join(dir, file)
		s.sources[what], s.files = name, append(s.files, name)
		return loadOrCreate(name)
	}
	if s.turn, err = pick("turn", c.Turn.Secrets, "turn.secrets", turnSecretFile); err != nil {
		return nil, err
	}
	if s.token, err = pick("token", c.Signaling.TokenSecrets, "signaling.token_secrets", tokenSecretFile); err != nil {
		return nil, err
	}
	if c.Accounting.Webhook != "" || c.Signaling.Webhook.URL != "" {
		if s.webhook, err = pick("webhook", c.Webhooks.Secrets, "webhooks.secrets", webhookFile); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// masterKey is what a server derives its nonce and resume keys from.
func masterKey() ([]byte, error) {
	dir, err := stateDir()
	if err != nil {
		return nil, err
	}
	master, err := loadOrCreate(filepath.Join(dir, masterKeyFile))
	if err != nil {
		return nil, err
	}
	return []byte(master[0]), nil
}

// adminToken is what commands show to the admin endpoint unless it is a unix socket.
func adminToken() (string, error) {
	name := credential(adminTokenFile)
	if name == "" {
		dir, err := stateDir()
		if err != nil {
			return "", err
		}
		name = filepath.Join(dir, adminTokenFile)
	}
	token, err := loadOrCreate(name)
	if err != nil {
		return "", err
	}
	return token[0], nil
}

// credential is a file that systemd's LoadCredential= put there, or "". A blank one is the
// unit's word for none.
func credential(name string) string {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return ""
	}
	path := filepath.Join(dir, name)
	if data, err := os.ReadFile(path); err != nil || len(bytes.TrimSpace(data)) == 0 {
		return ""
	}
	return path
}

// loadOrCreate reads a file of secrets, or makes one with a new secret. Of several
// processes that do this at once one wins, and all read the same.
func loadOrCreate(name string) ([]string, error) {
	secrets, err := config.ReadSecrets(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return secrets, err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	if err := writeNew(name, []byte(newSecret()+"\n"), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return config.ReadSecrets(name)
}

// newSecret is 256 random bits in hexadecimal.
func newSecret() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// writeNew writes a file that must not exist yet: whole or not at all.
func writeNew(name string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	return os.Link(tmp.Name(), name) // unlike rename this never replaces a file
}

func (s *secrets) keys(realm string) (*creds.Keys, error) {
	keys, err := creds.NewKeys(creds.KeysOptions{Secrets: s.turn, AllowShort: s.allowShort, Realm: realm, Revoked: s.revoked})
	if err != nil {
		return nil, fmt.Errorf("TURN secret (%s): %w", s.sources["turn"], err)
	}
	return keys, nil
}

func (s *secrets) tokens() (*creds.Tokens, error) {
	tokens, err := creds.NewTokens(creds.TokensOptions{Secrets: s.token, AllowShort: s.allowShort})
	if err != nil {
		return nil, fmt.Errorf("join token secret (%s): %w", s.sources["token"], err)
	}
	return tokens, nil
}

// loadKeys is what the commands that mint TURN credentials need.
func loadKeys(c *config.Loaded) (*creds.Keys, error) {
	s, err := loadSecrets(c)
	if err != nil {
		return nil, err
	}
	return s.keys(realm(c))
}

// realm is turn.realm with its default.
func realm(c *config.Loaded) string {
	switch {
	case c.Turn.Realm != "":
		return c.Turn.Realm
	case c.Domain != "" && len(c.Domain) <= relay.MaxRealm:
		return c.Domain
	}
	return "rtcd"
}
