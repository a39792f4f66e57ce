package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"rtcd/creds"
	"rtcd/probe"
)

// probeFlags are those of `rtcd probe`.
type probeFlags struct {
	adminFlags
	o       probe.Options
	ca      string
	explain bool
	server  string // site of the server that is to explain
	token   string
}

func probeCommand() *cobra.Command {
	var f probeFlags
	cmd := &cobra.Command{
		Use:   "probe URL...",
		Short: "Be a TURN client: allocate, permission, echo, RTT, loss, Mbit/s; over UDP, whether the relay range is open",
		Long: "Be a TURN client of any server. URLs are those of WebRTC:\n" +
			"  stun:HOST  turn:HOST:3478?transport=udp|tcp  turns:HOST:5349?transport=tcp|udp\n" +
			"Without --username, the secret of the configuration makes the credentials, as on the server itself.\n" +
			"Over UDP a packet is also sent from here to the relayed address, which shows a closed range of relay\n" +
			"ports; not where the server refuses this machine as a peer, as it does its own and private ones.\n\n" +
			"--explain asks the server, too, what it saw of the probe, and joins both: which of them did not\n" +
			"hear the other, which secret, clock, quota or rule stood against it. On the server's own machine it\n" +
			"asks the admin endpoint; elsewhere give --server https://HOST and a join token (rtcd token), which\n" +
			"open checks do without. The server makes the credentials then, and without URL all that it\n" +
			"advertises are probed.",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && !f.explain:
				return usageError{errors.New("want a URL, like turn:rtc.example.com:3478")}
			case f.explain && f.o.Username != "":
				return usageError{errors.New("--explain has the server make the credentials: leave --username out")}
			case !f.explain && f.server != "":
				return usageError{errors.New("--server goes with --explain")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.adminFlags.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.o.Username, "username", "", "TURN username")
	flags.StringVar(&f.o.Credential, "credential", "", "TURN password")
	flags.IntVar(&f.o.Packets, "packets", 0, "packets to echo (default 50)")
	flags.DurationVar(&f.o.Throughput, "throughput", 2*time.Second, "how long to send as fast as it goes; 0 measures no Mbit/s")
	flags.DurationVar(&f.o.Timeout, "timeout", 0, "for each step (default 8s)")
	flags.StringVar(&f.ca, "ca", "", "PEM `file` with the authority of the server's certificate")
	flags.BoolVar(&f.o.Insecure, "insecure", false, "accept any certificate")
	flags.BoolVar(&f.explain, "explain", false, "ask the server what it saw, and join both views")
	flags.StringVar(&f.server, "server", "", "`site` of the server that is to explain, like https://rtc.example.com (default its admin endpoint)")
	flags.StringVar(&f.token, "token", "", "join token for --server")
	return cmd
}

// run probes each URL, explained where that is asked for and can be had.
func (f *probeFlags) run(cmd *cobra.Command, args []string) (err error) {
	if f.o.Roots, err = readRoots(f.ca); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	var e *explainer
	var unknown error // why nobody explains
	if f.explain {
		if e, unknown = f.explainer(cmd.Context()); unknown == nil {
			defer e.close()
			if len(args) == 0 {
				args = e.urls()
			}
		} else if len(args) == 0 {
			return fmt.Errorf("the server does not explain, and no URL is given: %w", unknown)
		}
	}
	targets, err := parseTargets(args)
	if err != nil {
		return usageError{err}
	}
	if e == nil {
		if err := probeCredentials(&f.o, &f.configFlags, targets); err != nil {
			return errors.Join(err, unknown)
		}
	}
	failed := false
	reports := make([]explanation, len(targets))
	for i, t := range targets {
		if e != nil {
			reports[i] = e.explain(cmd.Context(), t, f.o)
		} else {
			f.o.Inbound = true // what the server sees of it would be no part of the explanation
			reports[i] = explanation{Report: probe.Run(cmd.Context(), t, f.o)}
		}
		failed = failed || !reports[i].OK
		if f.asJSON {
			continue
		}
		printReport(out, reports[i].Report)
		if v := reports[i].Server; v != nil {
			v.print(out)
		}
	}
	if unknown != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "What the server saw is not known: %v.\n"+
			"So nobody can tell here whether packets came and were not answered, or did not come; nor why it\n"+
			"refused what it refused. On the server's machine --explain asks its admin endpoint (--admin,\n"+
			"--token-file); elsewhere give --server https://HOST and --token.\n", unknown)
	}
	if f.asJSON {
		if err := printJSON(out, reports); err != nil {
			return err
		}
	}
	if failed {
		return errReported
	}
	return nil
}

// explainer begins a check at the server that is to explain.
func (f *probeFlags) explainer(ctx context.Context) (*explainer, error) {
	if f.server != "" {
		return openSite(ctx, f.server, f.token, f.o.Roots, f.o.Insecure)
	}
	return openAdmin(ctx, &f.adminFlags)
}

func parseTargets(urls []string) ([]probe.Target, error) {
	targets := make([]probe.Target, len(urls))
	for i, u := range urls {
		var err error
		if targets[i], err = probe.ParseURL(u); err != nil {
			return nil, err
		}
	}
	return targets, nil
}

// probeCredentials mints a pair where there is a configuration and --username was not given.
func probeCredentials(o *probe.Options, flags *configFlags, targets []probe.Target) error {
	needed := false
	for _, t := range targets {
		needed = needed || t.TURN
	}
	switch {
	case !needed || o.Username != "" && o.Credential != "":
		return nil
	case o.Username != "" || o.Credential != "" || flags.path() == "":
		return usageError{errors.New("turn: needs --username and --credential (see rtcd credentials), or the server's --config")}
	}
	c, err := flags.load()
	if err != nil {
		return err
	}
	keys, err := loadKeys(c)
	if err != nil {
		return err
	}
	pair := keys.Issue(creds.PrefixCheck+"probe", 10*time.Minute, time.Now())
	o.Username, o.Credential = pair.Username, pair.Password
	return nil
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: no certificate in it", file)
	}
	return roots, nil
}

func printReport(w io.Writer, r *probe.Report) {
	verdict := "ok"
	if !r.OK {
		verdict = "fail"
	}
	fmt.Fprintf(w, "%-4s  %s\n", verdict, r.URL)
	for _, s := range r.Steps {
		mark := "ok"
		if !s.OK {
			mark = "fail"
		}
		fmt.Fprintf(w, "      %-10s %-4s %8.1f ms  %s\n", s.Name, mark, s.Millis, s.Detail)
	}
	if e := r.Echo; e != nil && e.Received > 0 {
		fmt.Fprintf(w, "      round trip through both relays: min %.1f, median %.1f, p95 %.1f ms; loss %.1f %%\n",
			e.MinMs, e.MedianMs, e.P95Ms, 100*e.Loss)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "      note: %s\n", n)
	}
	if p := r.Problem; p != nil {
		fmt.Fprintf(w, "      remedy: %s\n", p.Remedy)
	}
}
