package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rtcd/config"
)

func checkCommand() *cobra.Command {
	var flags configFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Look over configuration, machine and network: one row per fact, with the remedy",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{flags: flags}
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
	config *config.Loaded
	rows   []fact

	secrets   *secrets
	externals []external
	running   bool // a server with this configuration runs on this machine
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

func (d *doctor) print(w io.Writer) {
	for _, r := range d.rows {
		fmt.Fprintf(w, "%-4s  %-12s %s\n", r.Status, r.About, r.Detail)
		if r.Remedy != "" {
			fmt.Fprintf(w, "                   → %s\n", r.Remedy)
		}
	}
}

// examine looks at everything that it can; without a configuration at nothing else.
func (d *doctor) examine(ctx context.Context) {
	if !d.examineConfig() {
		return
	}
	d.examineSecrets()
	d.examineAddresses(ctx)
	d.examineListeners(ctx)
	d.examineMachine()
	d.examineCertificate()
	if d.running {
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
