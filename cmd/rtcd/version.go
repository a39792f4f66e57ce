package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/semver"
)

// version is set by the linker (-X main.version=v1.2.3); otherwise the module's
// or the commit's is told.
var version = ""

func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

// oldest are the modules that face strangers, and of each the oldest version that rtcd takes:
// those with holes that are known are older.
var oldest = map[string]string{
	"github.com/pion/stun/v3":      "v3.1.7",
	"github.com/pion/dtls/v3":      "v3.1.4",
	"github.com/gorilla/websocket": "v1.5.3",
	"golang.org/x/net":             "v0.38.0",
	"github.com/golang-jwt/jwt/v5": "v5.2.2",
}

func versionCommand() *cobra.Command {
	check := false
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, or those of everything in the binary", Args: noArgs,
		Long: "Print the version. --check prints those of Go and of every module in the binary, and fails if one that\n" +
			"faces strangers is older than rtcd takes: among those are versions with known holes.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "rtcd %s %s/%s %s\n", versionString(), runtime.GOOS, runtime.GOARCH, runtime.Version())
			if !check {
				return nil
			}
			info, ok := debug.ReadBuildInfo()
			if !ok {
				return errors.New("this binary does not say what it was built from")
			}
			return printModules(out, info.Deps)
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "also every module's version, and whether it is too old")
	return cmd
}

// printModules prints a line for each module; the error names those that are too old.
func printModules(w io.Writer, deps []*debug.Module) error {
	var old []string
	for _, m := range deps {
		if m.Replace != nil {
			m = m.Replace
		}
		note := ""
		if least := oldest[m.Path]; least != "" {
			note = "  ok, at least " + least
			if semver.Compare(m.Version, least) < 0 {
				note = "  TOO OLD, want " + least
				old = append(old, m.Path+" "+m.Version)
			}
		}
		fmt.Fprintf(w, "%s %s%s\n", m.Path, m.Version, note)
	}
	if len(old) > 0 {
		return fmt.Errorf("built with versions older than rtcd takes: %s; build it anew", strings.Join(old, ", "))
	}
	return nil
}
