package main

import (
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

func probeCommand() *cobra.Command {
	var flags configFlags
	var o probe.Options
	var asJSON bool
	var ca string
	cmd := &cobra.Command{
		Use:   "probe URL...",
		Short: "Be a TURN client: allocate, permission, echo, RTT, loss",
		Long: "Be a TURN client of any server. URLs are those of WebRTC:\n" +
			"  stun:HOST  turn:HOST:3478?transport=udp|tcp  turns:HOST:5349?transport=tcp|udp\n" +
			"Without --username, --config says which server's secret makes the credentials.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("want a URL, like turn:rtc.example.com:3478")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := parseTargets(args)
			if err != nil {
				return usageError{err}
			}
			if err := probeCredentials(&o, &flags, targets); err != nil {
				return err
			}
			if o.Roots, err = readRoots(ca); err != nil {
				return err
			}
			failed := false
			reports := make([]*probe.Report, len(targets))
			for i, t := range targets {
				reports[i] = probe.Run(cmd.Context(), t, o)
				failed = failed || !reports[i].OK
				if !asJSON {
					printReport(cmd.OutOrStdout(), reports[i])
				}
			}
			if asJSON {
				if err := printJSON(cmd.OutOrStdout(), reports); err != nil {
					return err
				}
			}
			if failed {
				return errReported
			}
			return nil
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&o.Username, "username", "", "TURN username")
	f.StringVar(&o.Credential, "credential", "", "TURN password")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.IntVar(&o.Packets, "packets", 0, "packets to echo (default 50)")
	f.DurationVar(&o.Timeout, "timeout", 0, "for each step (default 8s)")
	f.StringVar(&ca, "ca", "", "PEM `file` with the authority of the server's certificate")
	f.BoolVar(&o.Insecure, "insecure", false, "accept any certificate")
	return cmd
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

// probeCredentials mints a pair where --config was given and --username was not.
func probeCredentials(o *probe.Options, flags *configFlags, targets []probe.Target) error {
	needed := false
	for _, t := range targets {
		needed = needed || t.TURN
	}
	switch {
	case !needed || o.Username != "" && o.Credential != "":
		return nil
	case o.Username != "" || o.Credential != "" || flags.file == "":
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
