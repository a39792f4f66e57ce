package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"rtcd/config"
)

// examineListeners tries to bind every address, unless our own server has them.
func (d *doctor) examineListeners(ctx context.Context) {
	c := d.config
	d.running = adminAnswers(ctx, c.Listen.Admin)
	for _, l := range []struct {
		name  string
		addrs []config.Address
		udp   bool
	}{
		{"https", c.Listen.HTTPS, true},
		{"http", c.Listen.HTTP, false},
		{"turn", c.Listen.Turn, true},
		{"turns", c.Listen.Turns, true},
		{"admin", c.Listen.Admin, false},
	} {
		for _, a := range l.addrs {
			if _, unix := a.Unix(); unix {
				continue
			}
			d.examinePort("tcp", l.name, a)
			if l.udp {
				d.examinePort("udp", l.name, a)
			}
		}
	}
}

func (d *doctor) examinePort(network, name string, a config.Address) {
	where := fmt.Sprintf("listen.%s %s/%s", name, a, network)
	err := tryListen(network, string(a))
	port := int(a.AddrPort().Port())
	holder := portHolder(network, port)
	switch {
	case err == nil && !(network == "udp" && holder != "" && d.running):
		d.row(ok, "port", where+" is free", "")
	case err == nil || isTaken(err) && d.running && (holder == "" || strings.HasPrefix(holder, "rtcd,")):
		d.row(ok, "port", where+" is in use by a running rtcd", "")
	case isTaken(err):
		who := "another program"
		if holder != "" {
			who = holder
		}
		d.row(fail, "port", fmt.Sprintf("%s is held by %s", where, who), portRemedy(holder, name, port))
	case errors.Is(err, syscall.EACCES):
		d.row(fail, "port", where+" needs a privilege", "setcap cap_net_bind_service=+ep on the binary, or deploy/rtcd.service")
	default:
		d.row(fail, "port", where+": "+err.Error(), "listen on an address that this machine has")
	}
}

// portRemedy is how to get a port from the program that holds it.
func portRemedy(holder, name string, port int) string {
	program, _, _ := strings.Cut(holder, ",")
	other := "or choose another port in listen." + name
	switch program {
	case "turnserver":
		return "systemctl disable --now coturn (rtcd integrate coturn /etc/turnserver.conf writes a configuration from its), " + other
	case "nginx", "apache2", "httpd", "caddy", "haproxy", "traefik", "lighttpd":
		return fmt.Sprintf("systemctl disable --now %s, or let it pass requests on: listen.http: \"127.0.0.1:8080\", listen.https: \"\"", program)
	case "docker-proxy":
		return fmt.Sprintf("docker ps --filter publish=%d tells which container, then docker stop it, %s", port, other)
	case "":
		return fmt.Sprintf("as root ss -lnp 'sport = :%d' tells which one; stop it, %s", port, other)
	}
	return "stop it, " + other
}

func tryListen(network, address string) error {
	if network == "udp" {
		c, err := net.ListenPacket("udp", address)
		if err == nil {
			c.Close()
		}
		return err
	}
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
	}
	return err
}

// adminAnswers tells whether an rtcd serves on the admin addresses.
func adminAnswers(ctx context.Context, addrs []config.Address) bool {
	for _, a := range addrs {
		client := http.Client{Timeout: 2 * time.Second}
		url := "http://" + string(a) + "/healthz"
		if path, unix := a.Unix(); unix {
			client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			}, DisableKeepAlives: true}
			url = "http://localhost/healthz"
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			continue
		}
		if answer, err := client.Do(r); err == nil {
			answer.Body.Close()
			client.CloseIdleConnections()
			return answer.StatusCode == http.StatusOK
		}
	}
	return false
}
