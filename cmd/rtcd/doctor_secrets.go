package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func (d *doctor) examineSecrets() {
	s, err := loadSecrets(d.config)
	if err != nil {
		d.row(fail, "secrets", err.Error(), "give turn.secret_file and signaling.token_secret_file, or a state directory that can be written (STATE_DIRECTORY)")
		return
	}
	d.secrets = s
	for _, what := range []string{"turn", "token"} {
		n := len(s.turn)
		if what == "token" {
			n = len(s.token)
		}
		d.row(ok, "secrets", fmt.Sprintf("%s: %d from %s", what, n, s.sources[what]), "")
	}
	if s.allowShort {
		d.row(warn, "secrets", "turn.allow_short_secret is on: whoever sees one credential can guess a short secret", "openssl rand -hex 32")
	}
	dir, _ := stateDir()
	for _, name := range []string{turnSecretFile, tokenSecretFile, masterKeyFile} {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			d.row(warn, "secrets", fmt.Sprintf("%s has mode %04o", path, info.Mode().Perm()), "chmod 600 "+path)
		}
	}
}
