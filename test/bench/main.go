//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rtcd/test/turnclient"
)

// options are the flags; main says what each is.
type options struct {
	rounds, bulk        int
	window              time.Duration
	loads, servers      string
	coturn, other       string
	rtcd, rtcds         string
	out, name           string
	serverCore, ownCore int
}

// The main goroutine keeps the main thread: servers die with the thread that started
// them, and threads that enter a namespace end.
func init() { runtime.LockOSThread() }

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds; in each one every server meets every load")
	flag.DurationVar(&o.window, "window", 2*time.Second, "length of one measurement")
	flag.IntVar(&o.bulk, "bulk", 5000, "allocations of the control load")
	flag.StringVar(&o.loads, "loads", "", "regular expression of the loads to run, by id; empty = all")
	flag.StringVar(&o.servers, "servers", "", "regular expression of the servers to run, by name; empty = all")
	flag.StringVar(&o.coturn, "coturn", "turnserver", "Debian's coturn")
	flag.StringVar(&o.other, "other", "", "one more coturn binary")
	flag.StringVar(&o.rtcd, "rtcd", "", "rtcd binary; empty = built from the source beside")
	flag.StringVar(&o.rtcds, "rtcds", "", "more rtcd binaries to compare with, by comma")
	flag.StringVar(&o.out, "out", "", "folder for table, figures and chart; empty = print the table only")
	flag.StringVar(&o.name, "name", time.Now().Format(time.DateOnly), "name of the files in that folder")
	flag.IntVar(&o.serverCore, "server-core", 1, "core of the servers")
	flag.IntVar(&o.ownCore, "core", 0, "core of the generator")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := bench(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(ctx context.Context, o options) error {
	if os.Geteuid() != 0 || runtime.NumCPU() < 2 {
		return errors.New("needs root, for its network namespaces, and two cores")
	}
	selected, err := selectLoads(o.loads)
	if err != nil {
		return err
	}
	shop, err := newWorkshop()
	if err != nil {
		return err
	}
	defer shop.Close()
	servers, err := shop.servers(o)
	if err != nil {
		return err
	}
	lock, err := alone()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := prepare(o.ownCore); err != nil {
		return err
	}
	defer favour(os.Getpid(), favour(os.Getpid(), niceness))
	t, err := newTopology()
	if err != nil {
		return err
	}
	defer t.Close()
	r := &rig{topology: t, shop: shop, serverCore: o.serverCore, softirq: softirqThread(o.serverCore), window: o.window, bulk: o.bulk}
	rep := newReport(o, servers, selected)
	if err := r.rounds(ctx, rep); err != nil {
		return err
	}
	return rep.publish(o)
}

// rounds takes all samples: in each round, under each load, every server, of which
// another one begins each time.
func (r *rig) rounds(ctx context.Context, rep *report) error {
	for round := range rep.Rounds {
		for _, l := range rep.Loads {
			for i := range rep.Servers {
				s := rep.Servers[(i+round)%len(rep.Servers)]
				if ok, _ := regexp.MatchString(s.only, l.ID); !ok {
					continue
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
				rep.Samples = append(rep.Samples, r.insist(l, s, round))
			}
		}
	}
	return nil
}

// alone waits until no other bench runs: two would measure each other. Closing the
// file, or the end of the process, lets the next one begin.
func alone() (*os.File, error) {
	f, err := os.OpenFile("/run/lock/"+namePrefix, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		return f, nil
	}
	fmt.Fprintln(os.Stderr, "bench: another one is running; waiting for its end")
	return f, os.NewSyscallError("flock", unix.Flock(int(f.Fd()), unix.LOCK_EX))
}

// prepare gives this process its core and enough descriptors, and keeps the garbage
// collector out of the measurements.
func prepare(core int) error {
	debug.SetGCPercent(1000)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	const needed = 11_000 // the clients of the memory load, each with a socket
	if limit.Max < needed {
		return fmt.Errorf("needs %d descriptors, may have %d (ulimit -Hn)", needed, limit.Max)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	return pin(core, niceness)
}

// insist takes a sample, again if something else on this machine held up the
// generator.
func (r *rig) insist(l load, s server, round int) sample {
	for try := 1; ; try++ {
		out, err := r.sample(l, s, round)
		fmt.Fprintln(os.Stderr, out)
		if try == 3 || !errors.Is(err, errHeldUp) {
			return out
		}
	}
}

// sample starts a server, proves that it relays, and puts a load on it.
func (r *rig) sample(l load, s server, round int) (sample, error) {
	out := sample{Load: l.ID, Server: s.Name, Round: round}
	p, err := r.start(s)
	if err == nil {
		defer p.stop()
		transport, _, _ := strings.Cut(l.ID, "-")
		if transport != "tcp" && transport != "tls" {
			transport = "udp"
		}
		var c *turnclient.Client
		if c, err = r.prove(transport); err == nil {
			err = l.run(r, p, &out)
		}
		if c != nil {
			c.Conn.Close()
		}
	}
	if err != nil {
		out.Err = err.Error()
	}
	return out, err
}

func (s sample) String() string {
	if s.Err != "" {
		return fmt.Sprintf("%d %-24s %-16s %s", s.Round, s.Load, s.Server, s.Err)
	}
	return fmt.Sprintf("%d %-24s %-16s %12.1f   offered %8.0f/s loss %4.1f%% server %3.0f%% generator idle %3.0f%%",
		s.Round, s.Load, s.Server, s.Value, s.offered(), 100*s.loss(), 100*s.share(), 100*s.Idle)
}

func selectLoads(pattern string) ([]load, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	var out []load
	for _, l := range loads() {
		if re.MatchString(l.ID) {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no load matches %q", pattern)
	}
	return out, nil
}

// servers are the columns of the table: coturn first, since all is compared to it.
func (w *workshop) servers(o options) ([]server, error) {
	re, err := regexp.Compile(o.servers)
	if err != nil {
		return nil, err
	}
	if o.rtcd == "" {
		if o.rtcd, err = w.build(w.root, "./cmd/rtcd", "rtcd"); err != nil {
			return nil, err
		}
	} else if o.rtcd, err = filepath.Abs(o.rtcd); err != nil {
		return nil, err
	}
	ours, err := w.rtcd("rtcd", o.rtcd, "")
	if err != nil {
		return nil, err
	}
	coalesce, err := w.rtcdCoalesce(o.rtcd)
	if err != nil {
		return nil, err
	}
	others, err := w.rtcdOthers(o.rtcds)
	if err != nil {
		return nil, err
	}
	pion, err := w.pion()
	if err != nil {
		return nil, err
	}
	untuned := w.coturn("coturn-untuned", o.coturn)
	untuned.Note = "no flag for speed; one relay thread per core of the machine, all on the one core"
	all := []server{w.coturn("coturn", o.coturn, coturnTuned...), untuned}
	if o.other != "" {
		all = append(all, w.coturn("coturn-other", o.other, coturnTuned...))
	}
	all = append(append(all, pion), others...)
	all = append(append(all, ours), coalesce...)
	var out []server
	for _, s := range all {
		if re.MatchString(s.Name) {
			out = append(out, s)
		}
	}
	return out, nil
}
