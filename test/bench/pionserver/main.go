// Command pionserver is the TURN server of github.com/pion/turn/v4 as its examples
// set it up, for the bench: TURN REST credentials, one UDP socket, TCP, and TLS when
// a certificate is given.
package main

import (
	"crypto/tls"
	"flag"
	"log"
	"net"
	"net/netip"
	"runtime/debug"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"
)

func main() {
	ip := flag.String("ip", "127.0.0.1", "address to listen on and to relay from")
	secret := flag.String("secret", "", "shared secret of the TURN REST credentials")
	cert := flag.String("cert", "", "certificate, PEM")
	key := flag.String("key", "", "private key, PEM")
	version := flag.Bool("version", false, "print the version of pion/turn")
	flag.Parse()
	if *version {
		printVersion()
		return
	}
	log.Fatal(serve(*ip, *secret, *cert, *key))
}

func serve(ip, secret, cert, key string) error {
	addr := netip.MustParseAddr(ip)
	relay := &turn.RelayAddressGeneratorPortRange{
		RelayAddress: addr.AsSlice(), Address: ip, MinPort: 49152, MaxPort: 65535, MaxRetries: 1000,
	}
	udp, err := net.ListenPacket("udp4", netip.AddrPortFrom(addr, 3478).String())
	if err != nil {
		return err
	}
	tcp, err := net.Listen("tcp4", netip.AddrPortFrom(addr, 3478).String())
	if err != nil {
		return err
	}
	streams := []turn.ListenerConfig{{Listener: tcp, RelayAddressGenerator: relay}}
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return err
		}
		ln, err := tls.Listen("tcp4", netip.AddrPortFrom(addr, 5349).String(), &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			return err
		}
		streams = append(streams, turn.ListenerConfig{Listener: ln, RelayAddressGenerator: relay})
	}
	loggers := logging.NewDefaultLoggerFactory()
	_, err = turn.NewServer(turn.ServerConfig{
		Realm:             "bench",
		AuthHandler:       turn.LongTermTURNRESTAuthHandler(secret, loggers.NewLogger("auth")),
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: udp, RelayAddressGenerator: relay}},
		ListenerConfigs:   streams,
		LoggerFactory:     loggers,
	})
	if err != nil {
		return err
	}
	select {}
}

func printVersion() {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "github.com/pion/turn/v4" {
			log.SetFlags(0)
			log.Print(m.Version)
		}
	}
}
