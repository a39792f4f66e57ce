//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

type options struct {
	rounds   int
	sample   time.Duration
	warmup   time.Duration
	sessions int
	settle   time.Duration
	memory   int // rounds in which memory is measured

	rtcd   string
	peers  string
	out    string
	only   string
	loads  string
	secure string
	full   bool

	serverCore, ownCore int
}

func main() {
	log.SetFlags(0)
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; in each, every server does every load")
	flag.DurationVar(&o.sample, "sample", 2*time.Second, "length of one sample")
	flag.DurationVar(&o.warmup, "warmup", 1200*time.Millisecond, "load before a sample")
	flag.IntVar(&o.sessions, "sessions", 5000, "idle sessions for the memory figure")
	flag.DurationVar(&o.settle, "settle", 5*time.Second, "rest before memory is read")
	flag.IntVar(&o.memory, "memory-rounds", 3, "rounds that measure memory")
	flag.StringVar(&o.rtcd, "rtcd", "rtcd", "the rtcd binary")
	flag.StringVar(&o.peers, "peers", "hubbench/peers", "folder of the other servers")
	flag.StringVar(&o.out, "out", "", "folder for the results; empty: standard output only")
	flag.StringVar(&o.only, "only", "", "only these servers (comma)")
	flag.StringVar(&o.loads, "loads", "", "only loads whose name begins with one of these (comma)")
	flag.StringVar(&o.secure, "tls", "both", "both | on | off")
	flag.BoolVar(&o.full, "full", false, "every load over TLS too")
	flag.IntVar(&o.serverCore, "server-core", 0, "core of the server")
	flag.IntVar(&o.ownCore, "own-core", 1, "core of the generator")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := bench(ctx, o); err != nil {
		log.Fatal("hubbench: ", err)
	}
}

func bench(ctx context.Context, o options) error {
	if err := pin(o.ownCore); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	dir, err := os.MkdirTemp("", "hubbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cert, err := writeCertificate(dir)
	if err != nil {
		return err
	}
	r := newReport(o)
	for round := range o.rounds {
		for _, j := range plan(o, round) {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			s, err := run(ctx, o, j, dir, cert)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", j.server.name, j.title(), err)
			}
			s.Round = round
			r.Samples = append(r.Samples, s)
			log.Print(s)
		}
	}
	return r.publish(o)
}

// job is one sample to be taken.
type job struct {
	server server
	secure bool
	load   *load // nil: memory
}

func (j job) title() string {
	name := "idle sessions"
	if j.load != nil {
		name = j.load.name
	}
	if j.secure {
		name += ", TLS"
	}
	return name
}

// plan is what one round does. The servers take turns within each load, and another one
// begins in each round.
func plan(o options, round int) []job {
	var servers []server
	for _, s := range allServers {
		if o.only == "" || slices.Contains(strings.Split(o.only, ","), s.name) {
			servers = append(servers, s)
		}
	}
	var jobs []job
	for _, secure := range []bool{false, true} {
		if secure && o.secure == "off" || !secure && o.secure == "on" {
			continue
		}
		for i := range allLoads {
			if !wanted(o.loads, allLoads[i].name) || secure && !o.full && !allLoads[i].core {
				continue
			}
			for k := range servers {
				jobs = append(jobs, job{servers[(k+round)%len(servers)], secure, &allLoads[i]})
			}
		}
		if round < o.memory && wanted(o.loads, "memory") {
			for k := range servers {
				jobs = append(jobs, job{server: servers[k], secure: secure})
			}
		}
	}
	return jobs
}

func wanted(list, name string) bool {
	return list == "" || slices.ContainsFunc(strings.Split(list, ","), func(p string) bool {
		return strings.HasPrefix(name, p)
	})
}

// run starts the server, takes the sample and ends the server.
func run(ctx context.Context, o options, j job, dir string, cert certificate) (sample, error) {
	p, err := start(ctx, o, j.server, j.secure, dir, cert)
	if err != nil {
		return sample{}, err
	}
	defer p.stop()
	if j.load == nil {
		return measureMemory(o, p)
	}
	return measureLoad(o, p, j.load)
}
