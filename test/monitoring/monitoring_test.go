package monitoring

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	rules     = "../../deploy/prometheus/rtcd.rules.yml"
	ruleTests = "../../deploy/prometheus/rtcd.rules.test.yml"
	example   = "../../deploy/prometheus/scrape.example.yml"
	dashboard = "../../deploy/grafana/rtcd.json"
)

// promtool runs it and wants success.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestAlertRules: promtool takes the rules, and each alert fires in its test and is silent
// on a healthy server.
func TestAlertRules(t *testing.T) {
	promtool(t, "check", "rules", rules)
	promtool(t, "check", "config", "--syntax-only", example)
	promtool(t, "test", "rules", ruleTests)
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(ruleTests)
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllSubmatch(text, -1)
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, a := range alerts {
		if n := strings.Count(string(tests), "alertname: "+string(a[1])); n < 2 {
			t.Errorf("%s: %d tests, want one in which it fires and one in which it does not", a[1], n)
		}
	}
}

// prometheus scrapes an rtcd several times a second.
type prometheus struct{ address string }

func startPrometheus(t *testing.T, target string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	file, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global: {scrape_interval: 250ms, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: rtcd
    static_configs: [{targets: [%q]}]
`, file, target)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &prometheus{free(t)}
	start(t, nil, "prometheus", "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn")
	eventually(t, "Prometheus is ready", func() error { return get("http://"+p.address+"/-/ready", nil) })
	return p
}

// query runs a query now and returns how many series it gives.
func (p *prometheus) query(expr string) (series int, err error) {
	var answer struct {
		Status, Error string
		Data          struct{ Result []json.RawMessage }
	}
	err = get("http://"+p.address+"/api/v1/query?query="+url.QueryEscape(expr), &answer)
	if err == nil && answer.Status != "success" {
		err = errors.New(answer.Error)
	}
	return len(answer.Data.Result), err
}

// names are all metrics that Prometheus has from the target.
func (p *prometheus) names(t *testing.T) []string {
	t.Helper()
	var answer struct{ Data []string }
	if err := get("http://"+p.address+"/api/v1/label/__name__/values", &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Data
}

// panel is what the dashboard asks in one place.
type panel struct {
	Title, Type string
	Targets     []struct{ Expr string }
}

// queries are those of the dashboard as Grafana would send them, by panel.
func queries(t *testing.T) map[string][]string {
	t.Helper()
	data, err := os.ReadFile(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	var d struct{ Panels []panel }
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("$__rate_interval", "10s", "$instance", ".*")
	out := map[string][]string{}
	for _, p := range d.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, q := range p.Targets {
			out[p.Title] = append(out[p.Title], fill.Replace(q.Expr))
		}
	}
	return out
}

var metricName = regexp.MustCompile(`\b(?:rtcd|process|go)_\w+|\brtcd:\w+`)

// TestDashboardAndAlertsOnLiveMetrics: every query of the dashboard gives data on a running
// rtcd, and every metric that an alert names is there.
func TestDashboardAndAlertsOnLiveMetrics(t *testing.T) {
	r := startRTCD(t)
	p := startPrometheus(t, r.admin)
	eventually(t, "the first scrape", func() error {
		if n, err := p.query(`up{job="rtcd"} == 1`); n == 0 || err != nil {
			return fmt.Errorf("%d series, %w", n, err)
		}
		return nil
	})
	r.traffic()

	all := queries(t)
	n := 0
	for _, title := range slices.Sorted(maps.Keys(all)) {
		for _, q := range all[title] {
			n++
			eventually(t, fmt.Sprintf("%s: %s", title, q), func() error {
				series, err := p.query(q)
				if err == nil && series == 0 {
					err = errors.New("no data")
				}
				return err
			})
		}
	}
	t.Logf("%d queries of %d panels gave data", n, len(all))

	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	have := p.names(t)
	used := map[string]bool{}
	for _, name := range metricName.FindAllString(string(text), -1) {
		used[name] = true
	}
	for name := range used {
		if !slices.Contains(have, name) && name != "rtcd_selftest_up" {
			t.Errorf("an alert names %s, which is not there", name)
		}
	}
	eventually(t, "the rules are evaluated without error", func() error { return p.rulesAreFine() })
}

// rulesAreFine wants every rule evaluated on what was scraped, without an error.
func (p *prometheus) rulesAreFine() error {
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := get("http://"+p.address+"/api/v1/rules", &answer); err != nil {
		return err
	}
	n := 0
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			n++
			if r.Health != "ok" {
				return fmt.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n == 0 {
		return errors.New("there are no rules")
	}
	return nil
}
