package packages

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const chartDir = "../../deploy/helm/rtcd"

// rendered is what a set of values makes of the chart, each document strictly decoded.
type rendered struct {
	pod     corev1.PodSpec
	config  *corev1.ConfigMap
	secret  *corev1.Secret
	service *corev1.Service
	kind    string
}

func render(t *testing.T, text string) (r rendered, err error) {
	t.Helper()
	chart, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	values, err := chartutil.ReadValues([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	all, err := chartutil.ToRenderValues(chart, values, chartutil.ReleaseOptions{Name: "edge", Namespace: "rtc", IsInstall: true}, nil)
	if err != nil {
		return r, err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return r, err
	}
	for name, doc := range files {
		if strings.HasSuffix(name, ".yaml") && strings.TrimSpace(doc) != "" {
			r.add(t, name, []byte(doc))
		}
	}
	if notes := files["rtcd/templates/NOTES.txt"]; !strings.Contains(notes, "3478 (turn)") || !strings.Contains(notes, "UDP") {
		t.Errorf("the notes say\n%s", notes)
	}
	return r, nil
}

func (r *rendered) add(t *testing.T, name string, doc []byte) {
	t.Helper()
	var kind struct{ Kind string }
	decode := func(into any) {
		if err := yaml.UnmarshalStrict(doc, into); err != nil {
			t.Errorf("%s: %v\n%s", name, err, doc)
		}
	}
	if err := yaml.Unmarshal(doc, &kind); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, doc)
	}
	switch kind.Kind {
	case "DaemonSet":
		var d appsv1.DaemonSet
		decode(&d)
		r.kind, r.pod = kind.Kind, d.Spec.Template.Spec
	case "Deployment":
		var d appsv1.Deployment
		decode(&d)
		r.kind, r.pod = kind.Kind, d.Spec.Template.Spec
	case "ConfigMap":
		r.config = new(corev1.ConfigMap)
		decode(r.config)
	case "Secret":
		r.secret = new(corev1.Secret)
		decode(r.secret)
	case "Service":
		r.service = new(corev1.Service)
		decode(r.service)
	default:
		t.Errorf("%s: a document of kind %q", name, kind.Kind)
	}
}

// wantConfig has rtcd itself look at the configuration, with the secrets of the chart.
func (r *rendered) wantConfig(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("config.yaml", []byte(r.config.Data["config.yaml"]))
	if r.secret != nil {
		for name, secret := range r.secret.Data {
			write(name, secret)
		}
	}
	for _, args := range [][]string{{"config", "show"}, {"credentials"}, {"token", "--room", "r"}} {
		cmd := exec.Command(world.program, append(args, "--config", filepath.Join(dir, "config.yaml"))...)
		cmd.Env = append(os.Environ(), "CREDENTIALS_DIRECTORY="+dir, "STATE_DIRECTORY="+dir)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("rtcd %s: %v\n%s\n%s", args[0], err, out, r.config.Data["config.yaml"])
		}
	}
}

func TestChart(t *testing.T) {
	for name, c := range map[string]struct {
		values string
		want   func(*testing.T, rendered)
	}{
		"as it is": {"", func(t *testing.T, r rendered) {
			if r.kind != "DaemonSet" || r.service != nil || len(r.secret.Data["turn.secret"]) < 32 {
				t.Errorf("%s, service %v, secrets %v", r.kind, r.service, r.secret)
			}
			if *r.pod.SecurityContext.RunAsUser != 0 || len(r.pod.Containers[0].SecurityContext.Capabilities.Add) != 1 {
				t.Errorf("ports under 1024 with %+v", r.pod.SecurityContext)
			}
		}},
		"a name, many keys": {"config: {domain: rtc.example.com, turn: {relay_ports: 50000-50999, external_ip: 203.0.113.5}, log: {level: debug}}\ndrainSeconds: 600", func(t *testing.T, r rendered) {
			if !strings.Contains(r.config.Data["config.yaml"], "timeout: 600s") || *r.pod.TerminationGracePeriodSeconds != 630 {
				t.Errorf("grace %d s for\n%s", *r.pod.TerminationGracePeriodSeconds, r.config.Data["config.yaml"])
			}
		}},
		"a deployment behind a load balancer": {`{kind: Deployment, replicas: 2, service: {enabled: true}, state: {claim: rtcd},
			privilegedPorts: false, existingSecret: mine, config: {listen: {https: ":8443", http: "", turn: [":3478", ":3479"], turns: "", proxy_protocol: [10.0.0.0/8]}}}`, func(t *testing.T, r rendered) {
			if r.kind != "Deployment" || r.secret != nil || *r.pod.SecurityContext.RunAsUser == 0 {
				t.Errorf("%s, secret %v, user %v", r.kind, r.secret, *r.pod.SecurityContext.RunAsUser)
			}
			var ports []string
			for _, p := range r.service.Spec.Ports {
				ports = append(ports, fmt.Sprintf("%d/%s", p.Port, p.Protocol))
			}
			if got := strings.Join(ports, " "); got != "8443/TCP 8443/UDP 3478/TCP 3478/UDP" || r.service.Spec.ExternalTrafficPolicy != "Local" {
				t.Errorf("the service has %s, policy %s", got, r.service.Spec.ExternalTrafficPolicy)
			}
		}},
		"secrets that are given, state on the node": {`{turnSecret: 0123456789abcdef0123456789abcdef, state: {hostPath: /var/lib/rtcd}, nodeSelector: {relay: "yes"}, podAnnotations: {a: b}}`, func(t *testing.T, r rendered) {
			if string(r.secret.Data["turn.secret"]) != "0123456789abcdef0123456789abcdef" || r.pod.NodeSelector["relay"] != "yes" {
				t.Errorf("%v %v", r.secret, r.pod.NodeSelector)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := render(t, c.values)
			if err != nil {
				t.Fatal(err)
			}
			r.wantConfig(t)
			if !r.pod.HostNetwork || r.pod.DNSPolicy != corev1.DNSClusterFirstWithHostNet {
				t.Error("the pod is not on its node's network")
			}
			main := r.pod.Containers[0]
			if strings.Join(main.Lifecycle.PreStop.Exec.Command, " ") != "/rtcd drain" || main.LivenessProbe == nil || main.ReadinessProbe == nil {
				t.Errorf("lifecycle %+v, probes %v %v", main.Lifecycle, main.LivenessProbe, main.ReadinessProbe)
			}
			c.want(t, r)
		})
	}
}

// Values that make no sense are refused by the schema.
func TestChartRefuses(t *testing.T) {
	for _, values := range []string{
		"kind: Pod", "replica: 2", "turnSecret: short", "config: {turn: {secrets: [x]}}", "config: {drain: {timeout: 1s}}",
		"service: {type: ClusterIP}", "drainSeconds: 0",
	} {
		if _, err := render(t, values); err == nil {
			t.Errorf("admitted: %s", values)
		}
	}
}

func TestChartLint(t *testing.T) {
	result := lint.All(chartDir, nil, "rtc", true)
	for _, m := range result.Messages {
		if m.Severity >= support.WarningSev {
			t.Errorf("%s", m)
		}
	}
}
