package integrate

// option is what becomes of one option of coturn: exactly one field is set.
type option struct {
	take     func(*converter, line) error // it has a counterpart here
	needless string                       // why none is needed
	dropped  string                       // why there is none
}

func take(f func(*converter, line) error) option { return option{take: f} }
func needless(why string) option                 { return option{needless: why} }
func dropped(why string) option                  { return option{dropped: why} }

// Reasons that several options share.
const (
	byItself = "rtcd does that by itself"
	logs     = "rtcd logs to standard error, which systemd keeps; see log.level and log.format"
	admin    = "rtcd has an admin endpoint: listen.admin, rtcd status, rtcd allocations"
	metrics  = "rtcd has metrics at listen.admin, /metrics"
	unit     = "the unit of systemd does that"
	tlsRules = "rtcd speaks TLS 1.2 and newer, with Go's choice of ciphers"
	lifetime = "rtcd has the lifetimes of RFC 8656"
	users    = "rtcd has no table of users; a fixed pair for a program is: rtcd credentials --user NAME --ttl 1825d"
	database = "rtcd keeps nothing in a database; secrets are in turn.secrets or turn.secret_file"
	discover = "rtcd has no NAT behaviour discovery (RFC 5780)"
	redirect = "rtcd sends no client to another server, but for rtcd drain"
	always   = "rtcd never does otherwise"
)

// coturnOptions are all options that coturn 4.5 to 4.6 has.
var coturnOptions = map[string]option{
	"listening-ip":       take((*converter).listeningIP),
	"listening-port":     take((*converter).listeningPort),
	"tls-listening-port": take((*converter).tlsListeningPort),
	"aux-server":         take((*converter).auxServer),
	"external-ip":        take((*converter).externalIP),
	"relay-ip":           take((*converter).relayIP),
	"min-port":           take((*converter).minPort),
	"max-port":           take((*converter).maxPort),
	"realm":              take((*converter).realmOf),
	"static-auth-secret": take((*converter).secret),
	"use-auth-secret":    take((*converter).useSecret),
	"cert":               take((*converter).cert),
	"pkey":               take((*converter).key),
	"no-tls":             take((*converter).noTLS),
	"no-dtls":            take((*converter).noDTLS),
	"user-quota":         take((*converter).userQuota),
	"total-quota":        take((*converter).totalQuota),
	"max-bps":            take((*converter).maxBPS),
	"denied-peer-ip":     take((*converter).deniedPeer),
	"allowed-peer-ip":    take((*converter).allowedPeer),

	"allow-loopback-peers": take((*converter).allowLoopback),
	"verbose":              take((*converter).verbose),
	"Verbose":              take((*converter).verbose),
	"user":                 take((*converter).user),
	"lt-cred-mech":         take((*converter).longTerm),
	"no-auth":              take((*converter).noAuth),
	"no-udp":               take((*converter).noUDP),
	"no-tcp":               take((*converter).noTCP),

	"fingerprint":                       needless("rtcd's answers always have one"),
	"stale-nonce":                       needless("rtcd's nonces always expire"),
	"no-multicast-peers":                needless(always),
	"no-loopback-peers":                 needless("denied by turn.peers.deny: recommended"),
	"no-software-attribute":             needless(always),
	"no-stun-backward-compatibility":    needless(always),
	"no-rfc5780":                        needless(always),
	"response-origin-only-with-rfc5780": needless(always),
	"no-tcp-relay":                      needless(always),
	"no-auth-pings":                     needless(always),
	"no-dynamic-ip-list":                needless(always),
	"no-dynamic-realms":                 needless(always),
	"check-origin-consistency":          dropped("rtcd does not look at the ORIGIN attribute, which browsers do not send"),
	"server-name":                       needless("only OAuth uses it"),
	"keep-address-family":               needless("a client gets the family that it asks for"),

	"allocation-default-address-family": dropped("who does not ask for a family gets IPv4, as RFC 8656 says"),

	"syslog": needless(logs), "log-file": needless(logs), "no-stdout-log": needless(logs), "simple-log": needless(logs),
	"new-log-timestamp": needless(logs), "new-log-timestamp-format": needless(logs), "syslog-facility": needless(logs),
	"log-binding": needless("rtcd counts bindings in its metrics"), "log-ip": needless(logs), "logfile": needless(logs),

	"no-cli": needless(admin), "cli-ip": needless(admin), "cli-port": needless(admin), "cli-password": needless(admin),
	"cli-max-output-sessions": needless(admin), "web-admin": needless(admin), "web-admin-ip": needless(admin),
	"web-admin-port": needless(admin), "web-admin-listen-on-workers": needless(admin),

	"prometheus": needless(metrics), "prometheus-port": needless(metrics), "prometheus-address": needless(metrics),
	"prometheus-path": needless(metrics), "prometheus-no-username": needless(metrics), "prometheus-username-labels": dropped("a user's name is never a label of a metric"),

	"pidfile": needless(unit), "proc-user": needless(unit), "proc-group": needless(unit), "daemon": needless(unit),

	"relay-threads": needless(byItself), "udp-self-balance": needless(byItself), "ne": needless(byItself),
	"cpus": needless(byItself), "sock-buf-size": needless(byItself),

	"dh566": needless(tlsRules), "dh1066": needless(tlsRules), "dh2066": needless(tlsRules), "dh-file": needless(tlsRules),
	"ec-curve-name": needless(tlsRules), "cipher-list": needless(tlsRules), "no-sslv2": needless(tlsRules),
	"no-sslv3": needless(tlsRules), "no-tlsv1": needless(tlsRules), "no-tlsv1_1": needless(tlsRules),
	"no-tlsv1_2": dropped("TLS 1.2 cannot be switched off"), "tlsv1": dropped("TLS before 1.2 is not spoken"),
	"CA-file":  dropped("rtcd does not ask clients for certificates"),
	"pkey-pwd": dropped("rtcd reads no encrypted key: openssl pkey -in KEY -out PLAIN"),

	"max-allocate-timeout": needless(lifetime), "max-allocate-lifetime": needless(lifetime),
	"channel-lifetime": needless(lifetime), "permission-lifetime": needless(lifetime),

	"bps-capacity":         dropped("rtcd bounds each allocation, not their sum; see turn.limits.bandwidth_per_allocation and allocations"),
	"listening-device":     dropped("give the addresses of the device in listen.turn"),
	"relay-device":         dropped("the routes decide"),
	"alt-listening-port":   dropped(discover),
	"rfc5780":              dropped(discover),
	"stun-only":            dropped("rtcd always relays for who has credentials"),
	"no-stun":              dropped("rtcd always answers STUN"),
	"secure-stun":          dropped("rtcd answers STUN without credentials, rate-limited"),
	"no-udp-relay":         dropped("UDP is what rtcd relays"),
	"server-relay":         dropped("it would relay to a client's server ports without permissions"),
	"mobility":             dropped("rtcd has no mobility (RFC 8016); calls restart ICE when a client's address changes"),
	"oauth":                dropped("rtcd has no OAuth (RFC 7635); join tokens and TURN REST credentials instead"),
	"alternate-server":     dropped(redirect),
	"tls-alternate-server": dropped(redirect),
	"tcp-proxy-port":       dropped("name the proxies in listen.proxy_protocol: rtcd takes their headers at the same ports"),
	"tcp-use-proxy":        dropped("name the proxies in listen.proxy_protocol: rtcd takes their headers at the same ports"),
	"acme-redirect":        needless("rtcd fetches certificates itself: tls.mode: acme"),
	"rest-api-separator":   dropped("only the colon separates expiry and user"),
	"secret-key-file":      dropped(database),
	"userdb":               dropped(database), "psql-userdb": dropped(database), "sql-userdb": dropped(database), "db": dropped(database),
	"mysql-userdb": dropped(database), "mongo-userdb": dropped(database), "redis-userdb": dropped(database),
	"redis-statsdb":          dropped("rtcd has metrics in its place, at listen.admin"),
	"alt-tls-listening-port": dropped(discover),
	"multiplex-peer":         dropped("each allocation has a port of its own"),
	"drain":                  needless("rtcd drain"),
}
