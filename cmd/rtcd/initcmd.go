package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"rtcd/config"
)

func initCommand() *cobra.Command {
	var domain, dir string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented config.yaml and secrets; never overwrites",
		Long: "Write a commented config.yaml and the secrets that it names. Nothing is overwritten: secrets that\n" +
			"are there are kept, and with a config.yaml nothing is done. Where the user rtcd is known, as it is to the\n" +
			"Debian package, it gets the secrets, so that the service reads them, and their changes.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return initialize(cmd.OutOrStdout(), domain, dir)
		},
	}
	cmd.Flags().StringVar(&domain, "domain", "", "public host `name` or IP address of the server")
	where := "."
	if os.Geteuid() == 0 { // where every command looks
		where = filepath.Dir(defaultConfig)
	}
	cmd.Flags().StringVar(&dir, "dir", where, "`directory` to write to")
	return cmd
}

// initialize writes config.yaml and those of its secrets that are not there, or nothing
// if config.yaml is there.
func initialize(out io.Writer, domain, dir string) error {
	sample := config.Sample{
		Domain: domain, HTTP: config.ExampleSample.HTTP,
		SecretFile: turnSecretFile, TokenSecretFile: tokenSecretFile,
	}
	switch {
	case config.IsPublicName(domain):
		sample.Discovery = true // who has a public name wants to be reached by it
		sample.HTTPS, sample.Turns = config.ExampleSample.HTTPS, config.ExampleSample.Turns
	case config.IsPublicAddress(domain): // nobody expects to be asked about for an address, so it is written down
		sample.TLSMode = config.TLSACME
		sample.HTTPS, sample.Turns = config.ExampleSample.HTTPS, config.ExampleSample.Turns
	case domain != "": // a private address or name: self-signed
		sample.HTTPS, sample.Turns = config.ExampleSample.HTTPS, config.ExampleSample.Turns
	default:
		sample.HTTP = string(config.Default().Listen.HTTP[0])
	}
	files := []struct {
		name string
		data []byte
		mode fs.FileMode
	}{
		{"config.yaml", config.Example(sample), 0o644},
		{turnSecretFile, []byte(newSecret() + "\n"), secretMode},
		{tokenSecretFile, []byte(newSecret() + "\n"), secretMode},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, files[0].name)); err == nil {
		return fmt.Errorf("%s is there already; nothing was written", filepath.Join(dir, files[0].name))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Wrong input must not leave files behind.
	if err := checkSample(domain); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		err := writeNew(path, f.data, f.mode)
		switch {
		case errors.Is(err, fs.ErrExist) && f.mode == secretMode:
			fmt.Fprintf(out, "kept %s\n", path)
			continue
		case err != nil:
			return err
		}
		fmt.Fprintf(out, "wrote %s\n", path)
		if f.mode == secretMode {
			giveToService(out, path)
		}
	}
	path := filepath.Join(dir, "config.yaml")
	if config.IsPublicName(domain) || sample.TLSMode == config.TLSACME {
		fmt.Fprintf(out, "\nrtcd fetches the certificate for %s by itself, from Let's Encrypt, and renews it: TCP port 80 or 443\n"+
			"has to be open to the world. By starting it you agree to the terms: https://letsencrypt.org/repository/\n"+
			"To use a certificate that you have, set tls.cert_file and tls.key_file.\n", domain)
	}
	check, serve := "rtcd check --config "+path, "rtcd serve --config "+path
	if path == defaultConfig {
		check = "rtcd check"
		if hasService() {
			serve = "systemctl start rtcd"
		}
	}
	fmt.Fprintf(out, "\nNext:\n  %s\n  %s\n", check, serve)
	return nil
}

// hasService tells whether this machine has the systemd unit.
func hasService() bool {
	for _, dir := range []string{"/etc", "/lib", "/usr/lib"} {
		if _, err := os.Stat(dir + "/systemd/system/rtcd.service"); err == nil {
			return true
		}
	}
	return false
}

// secretMode is that of files with a secret.
const secretMode fs.FileMode = 0o600

// serviceUser is whom the systemd unit runs as.
const serviceUser = "rtcd"

// giveToService makes the service the owner of a secret, where root sets up a machine that
// has one. Without, the unit hands over a copy.
func giveToService(out io.Writer, path string) {
	if os.Geteuid() != 0 {
		return
	}
	u, err := user.Lookup(serviceUser)
	if err != nil {
		return
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return // no numbers, no owners
	}
	if err := os.Lchown(path, uid, gid); err != nil {
		fmt.Fprintf(out, "%s stays root's: %v\n", path, err)
	}
}

// checkSample refuses what config would refuse.
func checkSample(domain string) error {
	_, err := config.Load(config.Input{Flags: []config.Setting{{Path: "domain", Text: domain}}})
	var faults *config.Error
	if errors.As(err, &faults) {
		return usageError{fmt.Errorf("--domain: %s", faults.Faults[0].Message)}
	}
	return err
}
