package test

import (
	"encoding/json"
	"os"
	"slices"
	"strconv"
	"testing"
)

// aioice is an ICE and TURN implementation of its own, in Python. Debian's python3 has it, whatever else is in the PATH.
func TestAioiceAgentsConnectThroughTheRelay(t *testing.T) {
	to := startRTCD(t, unlimited).target(t)
	const messages = "200"
	for _, tr := range []transport{overUDP, overTCP, overTLS} {
		t.Run(string(tr), func(t *testing.T) {
			server := to.ip(ip4).String() // aioice resolves no names over UDP
			if tr == overTLS {
				server = hostIP4
			}
			cmd := world.alice.Command(patient(t), "/usr/bin/python3", "testdata/aioice_relay.py",
				server, strconv.Itoa(int(tr.port())), to.user, to.password, string(tr), messages)
			cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+world.ca.File)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var got struct {
				Types []string
				Whole int
			}
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !slices.Equal(got.Types, []string{"relay"}) || strconv.Itoa(got.Whole) != messages {
				t.Errorf("aioice reports %+v; want relay candidates alone and %s messages", got, messages)
			}
		})
	}
}
