package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"rtcd/config"
)

func initCommand() *cobra.Command {
	var domain, dir string
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Write a commented config.yaml and secrets; never overwrites",
		Args:  noArgs,
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

// initialize writes config.yaml and two secrets, or nothing if one of them is there.
func initialize(out io.Writer, domain, dir string) error {
	sample := config.Sample{
		Domain: domain, HTTP: config.ExampleSample.HTTP,
		SecretFile: turnSecretFile, TokenSecretFile: tokenSecretFile,
	}
	switch {
	case config.IsPublicName(domain):
		live := "/etc/letsencrypt/live/" + domain
		sample.Discovery = true // who has a public name wants to be reached by it
		sample.HTTPS, sample.Turns = config.ExampleSample.HTTPS, config.ExampleSample.Turns
		sample.CertFile, sample.KeyFile = live+"/fullchain.pem", live+"/privkey.pem"
	case domain != "": // an address or a private name: self-signed
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
		{turnSecretFile, []byte(newSecret() + "\n"), 0o600},
		{tokenSecretFile, []byte(newSecret() + "\n"), 0o600},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, f.name)); err == nil {
			return fmt.Errorf("%s is there already; nothing was written", filepath.Join(dir, f.name))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Wrong input must not leave files behind.
	if err := checkSample(domain); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		if err := writeNew(path, f.data, f.mode); err != nil {
			return err
		}
		fmt.Fprintf(out, "wrote %s\n", path)
	}
	path := filepath.Join(dir, "config.yaml")
	if sample.CertFile != "" {
		fmt.Fprintf(out, "\nIt uses the certificate of certbot, which needs port 80 for a moment at each renewal:\n"+
			"  certbot certonly --standalone -d %s --pre-hook 'systemctl stop rtcd' --post-hook 'systemctl start rtcd'\n", domain)
	}
	fmt.Fprintf(out, "\nNext:\n  rtcd check --config %s\n  rtcd serve --config %s\n", path, path)
	return nil
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
