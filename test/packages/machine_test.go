package packages

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// suite is the Debian release of the machines.
const suite = "bookworm"

// includes are the packages beyond the smallest system that a server has.
const includes = "systemd,systemd-sysv,dbus,init-system-helpers,ca-certificates,iproute2"

// baseSystem is a directory with a Debian system, made when it is not there yet.
func baseSystem(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "rtcd-test", suite+"-1") // another number for other contents
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	made, err := os.MkdirTemp(filepath.Dir(dir), "new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(made) }()
	mirror, err := mirror(ctx)
	if err != nil {
		return "", err
	}
	root := filepath.Join(made, "root")
	cmd := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include="+includes, suite, root, mirror)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("debootstrap: %w\n%s", err, tail(out))
	}
	if err := os.WriteFile(filepath.Join(root, "etc/machine-id"), nil, 0o644); err != nil { // each machine has its own
		return "", err
	}
	if err := os.Rename(root, dir); err != nil {
		return "", err
	}
	return dir, nil
}

// mirror is where this machine has its own Debian packages from.
func mirror(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages", "Codename: "+suite).Output()
	if err != nil {
		return "", fmt.Errorf("apt-get indextargets: %w", err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	if first == "" {
		return "", fmt.Errorf("apt knows no mirror of %s", suite)
	}
	return first, nil
}

func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }

// machine is a running Debian system.
type machine struct {
	node   *lab.Node
	root   string // its file system
	leader string // process 1, as we see it
}

// boot starts a fresh system in the server's node, until the end of the test.
func boot(t *testing.T) *machine {
	t.Helper()
	network(t)
	node := world.server
	base, err := baseSystem(patient(t))
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{node: node, root: overlay(t, base)}
	hosts := fmt.Sprintf("127.0.0.1 localhost\n::1 localhost\n%s %s\n%s %s\n", node.IP4, host, node.IP6, host)
	if err := os.WriteFile(filepath.Join(m.root, "etc/hosts"), []byte(hosts), 0o644); err != nil {
		t.Fatal(err)
	}
	ns := filepath.Join("/run/netns", node.Namespace())
	cmd := exec.Command("systemd-nspawn", "--quiet", "--boot", "--directory="+m.root, "--machine="+node.Namespace(),
		"--register=no", "--keep-unit", "--network-namespace-path="+ns, "--resolv-conf=off", "--timezone=off")
	p, err := lab.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal:\n%s", m.output("journalctl --no-pager -n 200"))
		}
		m.halt(t, p)
	})
	for ctx := patient(t); ; {
		out, _ := exec.CommandContext(ctx, "pgrep", "-P", fmt.Sprint(cmd.Process.Pid)).Output()
		if m.leader = strings.TrimSpace(string(out)); m.leader != "" {
			if state := m.output("systemctl is-system-running"); state == "running" || state == "degraded" {
				break
			}
		}
		select {
		case <-p.Ended():
			t.Fatalf("systemd-nspawn ended:\n%s", p.Output())
		case <-ctx.Done():
			t.Fatalf("the machine does not start:\n%s", p.Output())
		case <-time.After(100 * time.Millisecond): // between two looks
		}
	}
	return m
}

// halt stops the system as its power button would, and waits for it.
func (m *machine) halt(t *testing.T, p *lab.Process) {
	t.Helper()
	m.output("systemctl --no-block --force --force poweroff")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := p.Wait(ctx); ctx.Err() != nil {
		t.Errorf("the machine does not stop: %v", errors.Join(err, p.Stop()))
	}
}

// overlay is a file system that begins as base is, and is gone after the test.
func overlay(t *testing.T, base string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(dir, "root")
	out, err := exec.Command("mount", "-t", "overlay", "overlay", "-o",
		fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work", base, dir, dir), root).CombinedOutput()
	if err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", root).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return root
}

// command is a shell's command line as root of the machine would type it.
func (m *machine) command(ctx context.Context, line string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", "--all", "--target", m.leader, "--", "/usr/bin/env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LC_ALL=C.UTF-8",
		"DEBIAN_FRONTEND=noninteractive", "/bin/sh", "-c", "cd /root && "+line)
}

// output runs a command whatever comes of it.
func (m *machine) output(line string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, _ := m.command(ctx, line).CombinedOutput()
	return strings.TrimSpace(string(out))
}

// sh runs a command that must succeed, and returns all that it prints.
func (m *machine) sh(t *testing.T, line string) string {
	t.Helper()
	var out bytes.Buffer
	cmd := m.command(patient(t), line)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out.String())
	}
	return strings.TrimSpace(out.String())
}

// refused runs a command that must fail, and returns all that it prints.
func (m *machine) refused(t *testing.T, line string) string {
	t.Helper()
	out, err := m.command(patient(t), line).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%s: %v; want it to fail\n%s", line, err, out)
	}
	return string(out)
}

// want runs a command until it prints the text.
func (m *machine) want(t *testing.T, line, text string) {
	t.Helper()
	for ctx := patient(t); ; {
		out := m.output(line)
		if strings.Contains(out, text) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %q, want %q", line, out, text)
		case <-time.After(100 * time.Millisecond): // between two looks
		}
	}
}

// put makes a file of ours one of root's.
func (m *machine) put(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(file)
	if err := os.WriteFile(filepath.Join(m.root, "root", name), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}
