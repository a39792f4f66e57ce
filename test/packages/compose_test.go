package packages

import (
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// compose loads a compose file as `docker compose config` does, with the schema's checks.
func compose(t *testing.T, file string, environ ...string) (types.ServiceConfig, error) {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{"../../deploy/" + file}, cli.WithEnv(environ), cli.WithName("rtcd"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		return types.ServiceConfig{}, err
	}
	return p.GetService("rtcd")
}

func TestComposeOnTheHostsNetwork(t *testing.T) {
	s, err := compose(t, "compose.yaml", "RTCD_DOMAIN=rtc.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if s.NetworkMode != "host" || len(s.Ports) != 0 || !s.ReadOnly || *s.Environment["RTCD_DOMAIN"] != "rtc.example.com" {
		t.Errorf("%+v", s)
	}
	if !slices.Contains(s.CapDrop, "ALL") || !strings.HasPrefix(s.StopGracePeriod.String(), "5m20s") {
		t.Errorf("capabilities dropped: %v, grace %v", s.CapDrop, s.StopGracePeriod)
	}
}

func TestComposeOnABridge(t *testing.T) {
	if _, err := compose(t, "compose.bridge.yaml"); err == nil || !strings.Contains(err.Error(), "public address") {
		t.Errorf("without the public address: %v", err)
	}
	s, err := compose(t, "compose.bridge.yaml", "RTCD_TURN_EXTERNAL_IP=203.0.113.5")
	if err != nil {
		t.Fatal(err)
	}
	relay := 0
	for _, p := range s.Ports {
		if p.Protocol == "udp" && p.Target >= 49160 {
			relay++
		}
	}
	if relay != 100 || *s.Environment["RTCD_TURN_RELAY_PORTS"] != "49160-49259" {
		t.Errorf("%d relay ports for %v", relay, s.Environment["RTCD_TURN_RELAY_PORTS"])
	}
}
