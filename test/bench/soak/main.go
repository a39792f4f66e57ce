//go:build linux

// Command soak runs package rtcd/test/soak against a rtcd built from the source beside,
// in a lab of its own, and prints the account in Markdown. It ends with 1 unless every
// packet is accounted for and the server's memory stayed flat.
//
// With -force packets do get lost, by a limit on bandwidth and by a server that is
// stopped for a while; then it ends with 1 also unless these losses were counted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"rtcd/test/lab"
	"rtcd/test/soak"
)

// options are the flags; main says what each is.
type options struct {
	soak.Options
	rtcd, out, note string
	plain           bool
	noGRO, noGSO    bool
	coalesce        bool
	force           bool
}

func main() {
	var o options
	flag.DurationVar(&o.For, "for", 5*time.Minute, "how long to send")
	flag.Float64Var(&o.Rate, "rate", 20_000, "packets per second")
	flag.IntVar(&o.Calls, "calls", 250, "calls through the relay alone, with two allocations each")
	flag.IntVar(&o.Outside, "outside", 500, "allocations with a peer outside")
	flag.IntVar(&o.Size, "size", 160, "bytes of a payload")
	flag.IntVar(&o.Burst, "burst", 1, "packets of a stream that leave joined")
	flag.StringVar(&o.rtcd, "rtcd", "", "rtcd binary; empty = built from the source beside")
	flag.StringVar(&o.out, "out", "", "file to which the account is added; empty = print only")
	flag.StringVar(&o.note, "note", "", "words for the account")
	flag.BoolVar(&o.plain, "plain", false, "turn.udp.batch: false")
	flag.BoolVar(&o.noGRO, "no-gro", false, "turn.udp.gro: false")
	flag.BoolVar(&o.noGSO, "no-gso", false, "turn.udp.gso: false")
	flag.BoolVar(&o.coalesce, "coalesce", false, "turn.coalesce: 200us")
	flag.BoolVar(&o.force, "force", false, "lose packets, and want them counted")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "rtcdsoak")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.rtcd == "" {
		o.rtcd = filepath.Join(dir, "rtcd")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.rtcd, "./cmd/rtcd")
		build.Dir = ".."
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build rtcd (start in test/): %w: %s", err, out)
		}
	}
	o.Lab, err = lab.New()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Lab.Close()) }()
	for _, n := range []struct {
		node **lab.Node
		name string
		host byte
	}{{&o.Server, "srv", 1}, {&o.Client, "cli", 2}, {&o.Peer, "peer", 3}} {
		if *n.node, err = o.Lab.Add(n.name, n.host); err != nil {
			return err
		}
	}
	pid, end, err := o.start(ctx, dir)
	if err != nil {
		return err
	}
	defer end()
	if o.force {
		o.During = func() error { return pause(pid, o.For/3) }
	}
	report, err := soak.Run(ctx, o.Options)
	if err != nil {
		return err
	}
	return errors.Join(o.publish(report), report.Err(), o.wantLosses(report))
}

// pause stops the server for a while, so that its sockets overflow.
func pause(pid int, d time.Duration) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	time.Sleep(d)
	return syscall.Kill(pid, syscall.SIGCONT)
}

// wantLosses fails when losses were forced and the server's own counters do not tell all.
func (o options) wantLosses(r *soak.Report) error {
	if !o.force {
		return nil
	}
	var errs []error
	if r.Lost("rtcd: over_bandwidth") == 0 {
		errs = append(errs, errors.New("the limit on bandwidth cost no packet"))
	}
	if r.Overflow == 0 {
		errs = append(errs, errors.New("no socket of rtcd overflowed"))
	}
	if !o.plain && r.OverflowTold != r.Overflow {
		errs = append(errs, fmt.Errorf("rtcd counts %d overflows, the kernel %d", r.OverflowTold, r.Overflow))
	}
	return errors.Join(errs...)
}

const config = `listen: {https: "", http: "", turn: "%[1]v:3478", turns: "", admin: "` + lab.AdminAddress + `"}
tls: {mode: off}
turn:
  realm: soak
  secrets: [%[2]q]
  external_ip: "%[1]v"
  coalesce: %[3]s
  udp: {batch: %[4]v, gro: %[5]v, gso: %[6]v}
  limits: {allocations_per_user: 0, allocations_per_ip: 0, bandwidth_per_allocation: %[7]s, unauthenticated_per_ip: 0}
self_test: 0
log: {level: warn}
`

// start starts rtcd on its node, waits until it is ready, and fills in how the load
// reaches it. end ends it.
func (o *options) start(ctx context.Context, dir string) (pid int, end func(), err error) {
	o.Port, o.Secret = 3478, strings.Repeat("soak", 8)
	coalesce, bandwidth := "0", "0"
	if o.coalesce {
		coalesce = "200us"
	}
	if o.force { // four fifths of what a call needs each way
		perStream := o.Rate / float64(2*o.Calls+2*o.Outside) * float64(8*o.Size)
		bandwidth = fmt.Sprintf("%.0fkbit", max(1, 0.8*perStream/1000))
	}
	text := fmt.Sprintf(config, o.Server.IP4, o.Secret, coalesce, !o.plain, !o.noGRO, !o.noGSO, bandwidth)
	path := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return 0, nil, err
	}
	cmd := o.Server.Command(context.WithoutCancel(ctx), o.rtcd, "serve", "--config", path)
	cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+dir)
	p, err := lab.Start(cmd)
	if err != nil {
		return 0, nil, err
	}
	end = func() {
		_ = p.Stop() // it was killed: nothing else can be wrong
		fmt.Fprint(os.Stderr, p.Output())
	}
	admin := o.Server.Admin()
	o.Metrics = admin.Metrics
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if admin.Ready(ctx) {
			return cmd.Process.Pid, end, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			end()
			return 0, nil, errors.New("rtcd is not ready")
		}
	}
}

// publish prints the account, and adds it to the file of results.
func (o options) publish(r *soak.Report) error {
	var mode []string
	for name, on := range map[string]bool{"`turn.udp.batch: false`": o.plain, "`turn.udp.gro: false`": o.noGRO, "`turn.udp.gso: false`": o.noGSO, "`turn.coalesce: 200us`": o.coalesce, "losses forced": o.force, fmt.Sprintf("bursts of %d", o.Burst): o.Burst > 1} {
		if on {
			mode = append(mode, name)
		}
	}
	if mode == nil {
		mode = []string{"defaults"}
	}
	text := fmt.Sprintf("## %s: %s\n\n%d cores, %s, %s, load %s\n%s\n%s\n", r.Started.UTC().Format("2006-01-02 15:04 UTC"),
		strings.Join(mode, ", "), runtime.NumCPU(), kernel(), runtime.Version(), loadAverage(), o.note, r)
	fmt.Print(text)
	if o.out == "" {
		return nil
	}
	f, err := os.OpenFile(o.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func kernel() string {
	text, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + strings.TrimSpace(string(text))
}

// loadAverage is that of the last five minutes, others' work included.
func loadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg")
	if f := strings.Fields(string(text)); len(f) > 1 {
		return f[1]
	}
	return "?"
}
