package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtcd/config"
	"rtcd/creds"
	"rtcd/integrate"
)

// How long what a snippet brings about is good for, unless --ttl says otherwise.
const (
	signedTTL = 24 * time.Hour       // credentials that the program signs itself
	pairTTL   = 365 * 24 * time.Hour // a pair that is written into its configuration
)

func integrateCommand() *cobra.Command {
	var flags configFlags
	var ttl durationFlag
	var user string
	cmd := &cobra.Command{
		Use:   "integrate APP",
		Short: "Print the finished configuration of another program that is to use this relay",
		Long: "Prints what to paste into another program's configuration so that it uses this relay: host, ports and\n" +
			"secret are filled in, and standard error tells where it goes. Programs that take only a fixed\n" +
			"username and password get a pair that is good for --ttl.\n\n" + appList() +
			"\n'rtcd integrate coturn FILE' goes the other way: it reads a turnserver.conf (- is standard input) and\n" +
			"writes the configuration of rtcd that does the same.",
		Example: "  rtcd integrate nextcloud\n  rtcd integrate go2rtc --ttl 1825d\n  rtcd integrate coturn /etc/turnserver.conf > config.yaml",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return usageError{fmt.Errorf("want an app: one of %s", strings.Join(integrate.Names(), ", "))}
			case len(args) > 2 || len(args) == 2 && args[0] != "coturn":
				return usageError{fmt.Errorf("unexpected argument %q", args[1])}
			}
			return nil
		},
		ValidArgs: integrate.Names(),
		RunE: func(cmd *cobra.Command, args []string) error {
			app, known := integrate.Find(args[0])
			if !known {
				return unknownWord("app", args[0], integrate.Names())
			}
			if len(args) == 2 {
				return convertCoturn(cmd, args[1])
			}
			if user == "" {
				user = app.Name
			}
			if err := creds.CheckUser(user); err != nil {
				return usageError{fmt.Errorf("--user: %w", err)}
			}
			c, err := flags.load()
			if err != nil {
				return err
			}
			s, err := integrationServer(cmd.Context(), c, user, time.Duration(ttl))
			if err != nil {
				return err
			}
			return printSnippet(cmd, c, app, s, user)
		},
	}
	flags.add(cmd)
	cmd.Flags().Var(&ttl, "ttl", "how long credentials are good (default 1d where the program signs them itself, 365d for a fixed pair)")
	cmd.Flags().StringVar(&user, "user", "", "`name` that quotas of a fixed pair count on (default the app's)")
	return cmd
}

func appList() string {
	var b strings.Builder
	for _, a := range integrate.Apps() {
		fmt.Fprintf(&b, "  %-17s %s\n", a.Name, a.Title)
	}
	return b.String()
}

// printSnippet writes the snippet, and nothing else, to standard output.
func printSnippet(cmd *cobra.Command, c *config.Loaded, app integrate.App, s integrate.Server, user string) error {
	text, err := app.Snippet(s)
	if err != nil {
		return err
	}
	tell := func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), "# "+format+"\n", args...) }
	tell("%s: this goes into %s", app.Title, app.Where)
	if app.Notes != "" {
		tell("%s", app.Notes)
	}
	if strings.Contains(text, s.Password) {
		noteShared(tell, c, user)
		tell("The pair is good until %s. To end it before, replace the secret, or list %s in turn.revoked.", s.Expires.UTC().Format(time.DateOnly), user)
	} else {
		tell("It holds the relay's secret: whoever reads it can use the relay without limit.")
	}
	warnReadable(cmd)
	_, err = io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// noteShared tells that everybody behind a fixed pair is one user.
func noteShared(tell func(string, ...any), c *config.Loaded, user string) {
	most := c.Turn.Limits.AllocationsPerUser
	own := slices.ContainsFunc(c.Turn.Limits.Users, func(u config.UserLimit) bool { return u.Name == user })
	if most > 0 && !own {
		tell("All who use the pair are one user, with %d allocations at most. For more: turn.limits.users: {%q: {allocations: 200}}", most, user)
	}
}

// warnReadable tells of a file that standard output goes to and that others can read.
func warnReadable(cmd *cobra.Command) {
	f, ok := cmd.OutOrStdout().(*os.File)
	if !ok {
		return
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		fmt.Fprintf(cmd.ErrOrStderr(), "# The file has mode %04o, so that others here can read it: chmod 600\n", info.Mode().Perm())
	}
}

// integrationServer is this configuration's relay as other programs are to know it.
func integrationServer(ctx context.Context, c *config.Loaded, user string, ttl time.Duration) (integrate.Server, error) {
	s, err := loadSecrets(c)
	if err != nil {
		return integrate.Server{}, err
	}
	keys, err := s.keys(realm(c))
	if err != nil {
		return integrate.Server{}, err
	}
	addrs, err := urlAddrs(ctx, c)
	if err != nil {
		return integrate.Server{}, err
	}
	signed, fixed := signedTTL, pairTTL
	if ttl != 0 {
		signed, fixed = ttl, ttl
	}
	pair := keys.Issue(user, fixed, time.Now())
	out := integrate.Server{
		Realm: realm(c), Secret: s.turn[0], TTL: signed, Site: siteURL(c, addrs),
		Username: pair.Username, Password: pair.Password, Expires: pair.Expires,
	}
	if len(c.Turn.APIKeys) > 0 {
		out.APIKey = c.Turn.APIKeys[0]
	}
	e := configuredEndpoints(c)
	e.paired = true
	out.STUN, out.TURN = iceURLs(c, e, addrs)
	return out, nil
}

// siteURL is where the pages are, nil if nothing serves them.
func siteURL(c *config.Loaded, addrs []external) *url.URL {
	for _, s := range []struct {
		scheme, usual string
		addrs         []config.Address
	}{{"https", "443", c.Listen.HTTPS}, {"http", "80", c.Listen.HTTP}} {
		for _, a := range s.addrs {
			port := strconv.Itoa(int(a.AddrPort().Port()))
			if port == "0" {
				continue
			}
			host := hosts(c, addrs)[0]
			if port != s.usual {
				return &url.URL{Scheme: s.scheme, Host: net.JoinHostPort(host, port)}
			}
			if strings.Contains(host, ":") {
				host = "[" + host + "]"
			}
			return &url.URL{Scheme: s.scheme, Host: host}
		}
	}
	return nil
}

// maxCoturnFile bounds what is read as a turnserver.conf, in bytes.
const maxCoturnFile = 4 << 20

// convertCoturn writes our configuration from a turnserver.conf.
func convertCoturn(cmd *cobra.Command, name string) error {
	in := cmd.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	done, err := integrate.ReadCoturn(io.LimitReader(in, maxCoturnFile))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, list := range []struct {
		title string
		rows  []integrate.Leftover
	}{{"not supported", done.NotSupported}, {"not known", done.Unknown}} {
		for _, l := range list.rows {
			fmt.Fprintf(cmd.ErrOrStderr(), "# %s: %s\n", list.title, l)
		}
	}
	for _, n := range done.Notes {
		fmt.Fprintf(cmd.ErrOrStderr(), "# note: %s\n", n)
	}
	if done.Secret {
		warnReadable(cmd)
	}
	if _, err := cmd.OutOrStdout().Write(done.YAML); err != nil {
		return err
	}
	return judgeConversion(done.YAML)
}

// judgeConversion tells what rtcd would say of the result.
func judgeConversion(data []byte) error {
	_, err := config.Load(config.Input{File: "config.yaml", Data: data})
	var faults *config.Error
	if errors.As(err, &faults) {
		return fmt.Errorf("the result needs work: %w", err)
	}
	return err
}
