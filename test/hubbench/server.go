//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// server is a program under test.
type server struct {
	name    string
	speaks  dialect
	command func(o options, c start1) ([]string, error)
}

// start1 is what a program is told.
type start1 struct {
	dir  string
	port int
	cert *certificate // nil: no TLS
}

var allServers = []server{
	{"rtcd", native{}, rtcdCommand},
	{"ws", native{}, nodeCommand("ws.mjs")},
	{"socket.io", socketIO{}, nodeCommand("socketio.mjs")},
}

// rtcdConfig is rtcd as it comes, but open to everybody and without the limits that the
// other servers do not have.
const rtcdConfig = `domain: "127.0.0.1"
listen: {http: %q, https: %q, turn: "127.0.0.1:%d", turns: "", admin: "127.0.0.1:%d"}
tls: {mode: %q, cert_file: %q, key_file: %q}
turn: {external_ip: "127.0.0.1"}
signaling: {auth: none, max_members: 0, limits: {messages: 0, burst: 0}}
log: {level: warn}
`

func rtcdCommand(o options, c start1) ([]string, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	own := net.JoinHostPort("127.0.0.1", strconv.Itoa(c.port))
	text := fmt.Sprintf(rtcdConfig, own, "", ports[0], ports[1], "off", "", "")
	if c.cert != nil {
		text = fmt.Sprintf(rtcdConfig, "", own, ports[0], ports[1], "files", c.cert.file, c.cert.key)
	}
	path := filepath.Join(c.dir, "rtcd.yaml")
	return []string{o.rtcd, "serve", "--config", path}, os.WriteFile(path, []byte(text), 0o600)
}

func nodeCommand(script string) func(options, start1) ([]string, error) {
	return func(o options, c start1) ([]string, error) {
		args := []string{"node", filepath.Join(o.peers, script), strconv.Itoa(c.port)}
		if c.cert != nil {
			args = append(args, c.cert.file, c.cert.key)
		}
		return args, nil
	}
}

// process is a running server.
type process struct {
	server server
	cmd    *exec.Cmd
	port   int
	tls    *tls.Config // of its clients; nil: no TLS
}

func start(ctx context.Context, o options, s server, secure bool, dir string, cert certificate) (*process, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	c := start1{dir: dir, port: ports[0]}
	p := &process{server: s, port: ports[0]}
	if secure {
		c.cert = &cert
		p.tls = &tls.Config{RootCAs: cert.pool, ServerName: "127.0.0.1"}
	}
	args, err := s.command(o, c)
	if err != nil {
		return nil, err
	}
	args = append([]string{"-c", strconv.Itoa(o.serverCore)}, args...)
	p.cmd = exec.CommandContext(ctx, "taskset", args...)
	p.cmd.Env = append(os.Environ(), "STATE_DIRECTORY="+dir)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		p.stop()
		return nil, fmt.Errorf("did not start: %w", err)
	}
	// Ends when the process does.
	go io.Copy(io.Discard, out)
	return p, p.wait()
}

// wait returns when the server takes connections.
func (p *process) wait() error {
	for try := 0; ; try++ {
		conn, err := net.Dial("tcp", p.address())
		if err == nil {
			return conn.Close()
		}
		if try == 50 {
			p.stop()
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (p *process) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)) }

func (p *process) stop() {
	p.cmd.Process.Kill()
	p.cmd.Wait()
}

// freePorts returns TCP ports of 127.0.0.1 that nobody has at the moment.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// certificate is the one that all servers use.
type certificate struct {
	file, key string
	pool      *x509.CertPool
}

func writeCertificate(dir string) (certificate, error) {
	c := certificate{file: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"), pool: x509.NewCertPool()}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return c, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hubbench"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	own, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return c, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own})
	c.pool.AppendCertsFromPEM(text)
	if err := os.WriteFile(c.file, text, 0o600); err != nil {
		return c, err
	}
	return c, os.WriteFile(c.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
