package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"rtcd/config"
)

func checkCommand() *cobra.Command {
	var flags configFlags
	var asJSON bool
	var ntp []string
	var running vitals
	cmd := &cobra.Command{
		Use:     "check",
		Aliases: []string{"doctor"},
		Short:   "Look over configuration, machine and network: one row per fact, with the remedy",
		Long: "Looks over configuration, machine and network: one row per fact (ok, warn or fail), and below it what\n" +
			"to do about it. It changes nothing and asks nobody outside, but for names of the configuration and the\n" +
			"time servers of --ntp. Where rtcd runs here, it also relays packets through it.\n\n" +
			"The exit status is 1 if a row is fail. --json prints {\"ok\", \"rows\": [{\"status\", \"about\", \"detail\",\n" +
			"\"remedy\"}]}.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if running.asked() {
				return running.report(cmd, flags)
			}
			d := &doctor{flags: flags, senses: ownSenses(), ntp: ntp}
			d.examine(cmd.Context())
			var err error
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), map[string]any{"ok": !d.failed(), "rows": d.rows})
			} else {
				d.print(cmd.OutOrStdout())
			}
			if err == nil && d.failed() {
				return errReported
			}
			return err
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringSliceVar(&ntp, "ntp", nil, "compare the clock with this time `server`; best with two, which have to agree")
	running.add(cmd)
	return cmd
}

// status is the worth of a fact.
type status string

const (
	ok   status = "ok"
	warn status = "warn"
	fail status = "fail"
)

// fact is one row of the doctor's findings.
type fact struct {
	Status status `json:"status"`
	About  string `json:"about"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy,omitempty"`
}

// doctor collects facts; one goroutine uses it.
type doctor struct {
	flags  configFlags
	senses senses
	ntp    []string // time servers to ask
	rows   []fact

	// What has been found out so far.
	config    *config.Loaded
	secrets   *secrets
	externals []external
	resolved  []netip.Addr // of the domain
	running   bool         // a server with this configuration runs on this machine
}

func (d *doctor) row(s status, about, detail, remedy string) {
	d.rows = append(d.rows, fact{s, about, detail, remedy})
}

func (d *doctor) failed() bool {
	for _, r := range d.rows {
		if r.Status == fail {
			return true
		}
	}
	return false
}

// print writes the rows, in colour on a terminal.
func (d *doctor) print(w io.Writer) {
	colour := map[status]string{}
	if isTerminal(w) && os.Getenv("NO_COLOR") == "" {
		colour = map[status]string{ok: "\x1b[32m%s\x1b[0m", warn: "\x1b[33m%s\x1b[0m", fail: "\x1b[1;31m%s\x1b[0m"}
	}
	count := map[status]int{}
	for _, r := range d.rows {
		count[r.Status]++
		word := fmt.Sprintf("%-4s", r.Status)
		if c, has := colour[r.Status]; has {
			word = fmt.Sprintf(c, word)
		}
		fmt.Fprintf(w, "%s  %-11s  %s\n", word, r.About, indented(r.Detail))
		if r.Remedy != "" {
			fmt.Fprintf(w, "%s→ %s\n", rowIndent, indented(r.Remedy))
		}
	}
	fmt.Fprintf(w, "\n%d ok, %d warn, %d fail\n", count[ok], count[warn], count[fail])
}

// rowIndent is as wide as what stands before a row's detail.
const rowIndent = "                   "

// indented puts what follows the first line below it.
func indented(s string) string { return strings.ReplaceAll(s, "\n", "\n"+rowIndent) }

// examine looks at everything that it can; without a configuration at nothing else.
func (d *doctor) examine(ctx context.Context) {
	if !d.examineConfig() {
		return
	}
	d.examineSecrets()
	d.examineClock(ctx)
	d.examineAddresses(ctx)
	d.examineIPv6()
	d.examineListeners(ctx)
	d.examineMachine()
	d.examineCertificate()
	d.examinePeers()
	if d.running {
		d.examineHairpin(ctx)
		d.examineRelay(ctx)
	} else {
		d.row(ok, "probe", "not done: no rtcd answers on this machine", "")
	}
}

func (d *doctor) examineConfig() bool {
	c, err := d.flags.load()
	var faults *config.Error
	switch {
	case errors.As(err, &faults):
		for _, f := range faults.Faults {
			d.row(fail, "config", f.String(), "")
		}
		return false
	case err != nil:
		d.row(fail, "config", err.Error(), "rtcd init writes a configuration")
		return false
	}
	d.config = c
	if c.File == "" {
		d.row(ok, "config", "none, built-in defaults", "")
	} else {
		d.row(ok, "config", c.File, "")
	}
	for _, w := range c.Warnings {
		d.row(warn, "config", w, "")
	}
	return true
}
