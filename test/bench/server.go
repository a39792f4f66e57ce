//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// secret is what all servers share with us (TURN REST API).
const secret = "0123456789abcdef0123456789abcdef"

// server is one program with one set of flags.
type server struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Command string `json:"command"` // without the folder of this run
	Note    string `json:"note,omitempty"`

	args []string // the whole command
	only string   // regular expression of the loads that it takes part in
}

// workshop is where the bench keeps what servers need: binaries, configuration,
// certificate, logs.
type workshop struct {
	dir       string
	root      string // of the module rtcd
	cert, key string
}

func newWorkshop() (*workshop, error) {
	dir, err := os.MkdirTemp("", "rtcdbench")
	if err != nil {
		return nil, err
	}
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return nil, fmt.Errorf("find the module of the bench (start it in test/): %w", err)
	}
	w := &workshop{
		dir: dir, root: filepath.Dir(strings.TrimSpace(string(out))),
		cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
	}
	return w, w.makeCertificate()
}

func (w *workshop) Close() { os.RemoveAll(w.dir) }

// makeCertificate writes a self-signed certificate, the same for all servers.
func (w *workshop) makeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 7),
		IPAddresses: []net.IP{serverIP.AsSlice()},
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(w.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(w.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// build makes a binary from a package, in the module at dir ("" = this one).
func (w *workshop) build(dir, pkg, name string) (string, error) {
	bin := filepath.Join(w.dir, name)
	cmd := exec.Command("go", "build", "-o", bin, pkg)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return bin, nil
}

// version is the first line that a command prints.
func version(args ...string) string {
	out, _ := exec.Command(args[0], args[1:]...).CombinedOutput()
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

// coturnFlags are what every coturn gets: where to listen, and the credentials.
func (w *workshop) coturnFlags() []string {
	return []string{
		"-n", "--listening-ip=" + serverIP.String(), "--relay-ip=" + serverIP.String(),
		"--use-auth-secret", "--static-auth-secret=" + secret, "--realm=bench",
		"--cert=" + w.cert, "--pkey=" + w.key,
		"--userdb=" + filepath.Join(w.dir, "turndb"), "--pidfile=" + filepath.Join(w.dir, "coturn.pid"),
		"--log-file=/dev/null", "--no-cli",
	}
}

// coturnTuned are what an operator who cares for speed adds: one relay thread for
// the one core, no log, and nothing that is not needed.
var coturnTuned = []string{
	"-m", "1", "--no-stdout-log", "--no-software-attribute", "--no-rfc5780", "--no-stun-backward-compatibility",
}

func (w *workshop) coturn(name, bin string, flags ...string) server {
	return w.server(name, version(bin, "--version"), append(append([]string{bin}, w.coturnFlags()...), flags...)...)
}

func (w *workshop) server(name, version string, args ...string) server {
	words := append([]string{filepath.Base(args[0])}, args[1:]...)
	command := strings.NewReplacer(w.dir+"/", "", secret, "SECRET").Replace(strings.Join(words, " "))
	return server{Name: name, Version: version, Command: command, args: args}
}

func (w *workshop) pion() (server, error) {
	bin, err := w.build("", "./bench/pionserver", "pionserver")
	return w.server("pion", version(bin, "-version"),
		bin, "-ip", serverIP.String(), "-secret", secret, "-cert", w.cert, "-key", w.key), err
}

// rtcdConfig turns off the limits that flood and bulk would meet, and nothing else.
const rtcdConfig = `listen: {https: "", http: "", turn: "%[1]v:3478", turns: "%[1]v:5349", admin: "127.0.0.1:9641"}
tls: {mode: files, cert_file: %[2]q, key_file: %[3]q}
turn:
  realm: bench
  secrets: [%[4]q]
  external_ip: "%[1]v"
%[5]s  limits: {allocations_per_user: 0, allocations_per_ip: 0, bandwidth_per_allocation: 0,
           unauthenticated_per_ip: 0, failed_logins_per_ip: 0, connections_per_ip: 0}
log: {level: error}
`

// rtcd returns our server; extra is a line for the section turn of its configuration.
func (w *workshop) rtcd(name, bin, extra string) (server, error) {
	path := filepath.Join(w.dir, name+".yaml")
	if extra != "" {
		extra = "  " + extra + "\n"
	}
	text := fmt.Sprintf(rtcdConfig, serverIP, w.cert, w.key, secret, extra)
	return w.server(name, version(bin, "version"), bin, "serve", "--config", path), os.WriteFile(path, []byte(text), 0o600)
}

// rtcdCoalesce is our server with the pause that trades latency for CPU, if this
// build has it.
func (w *workshop) rtcdCoalesce(bin string) ([]server, error) {
	schema, err := exec.Command(bin, "config", "schema").Output()
	if err != nil || !bytes.Contains(schema, []byte(`"coalesce"`)) {
		return nil, err
	}
	s, err := w.rtcd("rtcd-coalesce", bin, "coalesce: 200us")
	s.only = "even|latency"
	s.Note = "turn.coalesce: 200us"
	return []server{s}, err
}

// rtcdOthers are further builds of our server, each named like its file.
func (w *workshop) rtcdOthers(list string) ([]server, error) {
	var out []server
	for _, bin := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		bin, err := filepath.Abs(bin)
		if err != nil {
			return nil, err
		}
		s, err := w.rtcd(filepath.Base(bin), bin, "")
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// process is a server that runs.
type process struct {
	cmd     *exec.Cmd
	pid     int
	softirq int // its core's ksoftirqd
	log     *bytes.Buffer
}

// start starts a server on a core and waits until it answers.
func (r *rig) start(s server) (*process, error) {
	args := append([]string{"netns", "exec", r.topology.server, "taskset", "-c", strconv.Itoa(r.serverCore), "nice", "-n", strconv.Itoa(niceness)}, s.args...)
	p := &process{cmd: exec.Command("ip", args...), softirq: r.softirq, log: new(bytes.Buffer)}
	p.cmd.Dir = r.shop.dir
	p.cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+r.shop.dir)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.pid = p.cmd.Process.Pid
	favour(p.pid, niceness)
	if err := r.await(); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s: %w: %s", s.Name, err, p.log)
	}
	return p, nil
}

// await waits until all the listeners of the server answer.
func (r *rig) await() error {
	c, err := r.dial("udp", "await")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	tcp := func(port uint16) func() error {
		return func() error {
			conn, err := r.connect("tcp", netip.AddrPortFrom(serverIP, port))
			if err == nil {
				conn.Close()
			}
			return err
		}
	}
	return errors.Join(retry(c.Ping), retry(tcp(turnPort)), retry(tcp(turnsPort)))
}

// retry calls f until it succeeds, for ten seconds.
func retry(f func() error) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := f(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// stop ends the server at once: nothing of it is needed any more.
func (p *process) stop() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// time is the CPU time that the server and its core's ksoftirqd have used.
func (p *process) time() (time.Duration, error) {
	own, err := cpuTime(p.pid)
	if err != nil || p.softirq == 0 {
		return own, err
	}
	soft, err := cpuTime(p.softirq)
	return own + soft, err
}
