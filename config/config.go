package config

import "time"

// Config is the whole configuration. The field tags are its contract: yaml is
// the key, jsonschema_description what schema and `config env` say about it,
// secret keeps a value out of every output, reload:"restart" marks a key, or all of
// a section, that a running process cannot take anew.
type Config struct {
	Domain     string     `yaml:"domain" reload:"restart" jsonschema_description:"Public host name or IP address that clients use; empty means this machine's address."`
	Check      Access     `yaml:"check" jsonschema_description:"Who may run the test of the check page: token = the bearer of a join token, open = everybody, with credentials of 60 s that only reach this relay itself."`
	Listen     Listen     `yaml:"listen" reload:"restart" jsonschema_description:"Addresses to listen on, each one or a list; empty means off."`
	TLS        TLS        `yaml:"tls" jsonschema_description:"Certificates for https and turns."`
	Turn       Turn       `yaml:"turn" jsonschema_description:"The STUN and TURN relay."`
	Signaling  Signaling  `yaml:"signaling" jsonschema_description:"The WebSocket hub."`
	Accounting Accounting `yaml:"accounting" jsonschema_description:"The books of the relay: who relayed how much, from where and through which port."`
	Webhooks   Webhooks   `yaml:"webhooks" jsonschema_description:"How requests to your own endpoints are signed."`
	SelfTest   Duration   `yaml:"self_test" jsonschema_description:"Time between two tests of each advertised URL, which is used as a client would; one that fails is not handed out until it works again. 0 = none."`
	Drain      Drain      `yaml:"drain" jsonschema_description:"What happens between SIGTERM and the end."`
	Log        Log        `yaml:"log" jsonschema_description:"What is written to standard error."`
}

// Listen holds the listeners' addresses.
type Listen struct {
	HTTPS List[Address] `yaml:"https" jsonschema_description:"HTTPS and WebSocket, and TURN over TLS on the same port; TURN over UDP on its UDP side."`
	HTTP  List[Address] `yaml:"http" jsonschema_description:"Redirects to https; the whole site where https is off. TURN over TCP on the same port."`
	Turn  List[Address] `yaml:"turn" jsonschema_description:"STUN and TURN over UDP and TCP."`
	Turns List[Address] `yaml:"turns" jsonschema_description:"TURN over TLS (TCP) and DTLS (UDP)."`
	Admin List[Address] `yaml:"admin" jsonschema_description:"Health, metrics and profiles: a loopback address or unix:/path, never a public one."`

	TrustedProxies List[Network] `yaml:"trusted_proxies" jsonschema_description:"Addresses or prefixes of proxies in front of https and http, whose X-Forwarded-For is believed; empty means nobody's."`
	ProxyProtocol  List[Network] `yaml:"proxy_protocol" jsonschema_description:"Addresses or prefixes of proxies whose TCP connections, to any listener but admin, begin with a PROXY header (version 1 or 2); from there one is required, from elsewhere refused."`
}

// TLS says where certificates come from.
type TLS struct {
	Mode     TLSMode `yaml:"mode" reload:"restart" jsonschema_description:"auto = files where cert_file is given, acme for a public domain name, else self-signed; or acme (a public IP address too), files, self-signed, off."`
	Email    string  `yaml:"email" reload:"restart" jsonschema_description:"Contact for the certificate authority (acme), whose terms you agree to by using it."`
	CertFile string  `yaml:"cert_file" jsonschema_description:"PEM file with the certificate and its chain (files)."`
	KeyFile  string  `yaml:"key_file" jsonschema_description:"PEM file with the private key (files)."`
	ACME     ACME    `yaml:"acme" reload:"restart" jsonschema_description:"The certificate authority that is asked (acme)."`
}

// ACME says whom to ask for a certificate.
type ACME struct {
	Directory string `yaml:"directory" jsonschema_description:"URL of the authority's ACME directory; empty means Let's Encrypt. With one, domain need not be public."`
	CAFile    string `yaml:"ca_file" jsonschema_description:"PEM file with the certificates that vouch for that URL; empty means those of the system."`
	Profile   string `yaml:"profile" jsonschema_description:"Profile of the certificate; empty means shortlived for an IP address, else the authority's default."`
}

// Turn is the relay.
type Turn struct {
	Realm            string           `yaml:"realm" reload:"restart" jsonschema_description:"Realm of the credentials, at most 56 bytes; empty means the domain, or rtcd."`
	Secrets          List[string]     `yaml:"secrets" secret:"true" jsonschema_description:"Shared secrets of TURN REST credentials: the first signs, all verify."`
	SecretFile       string           `yaml:"secret_file" jsonschema_description:"File with those secrets, one per line. Without either, one is generated in the state directory."`
	AllowShortSecret bool             `yaml:"allow_short_secret" reload:"restart" jsonschema_description:"Admit secrets of fewer than 32 bytes, which can be guessed offline."`
	APIKeys          List[string]     `yaml:"api_keys" secret:"true" jsonschema_description:"Keys with which other programs may ask for credentials at /turn and /api/v1/ice-servers; empty means off."`
	APIKeyFile       string           `yaml:"api_key_file" jsonschema_description:"File with those keys, one per line."`
	ExternalIP       List[ExternalIP] `yaml:"external_ip" jsonschema_description:"Address that relayed traffic comes from, as the world sees it: auto = an interface's, the default route's first, or what discovery finds, an IP, dns:NAME, or a list with one per family."`
	Discovery        Discovery        `yaml:"discovery" jsonschema_description:"Whom to ask for the public address; only where external_ip is auto and no interface of this machine has one."`
	PortMapping      PortMapping      `yaml:"port_mapping" jsonschema_description:"auto = ask the router of a home network (NAT-PMP or UPnP) to forward the listeners and at most 50 relay ports; off = never."`
	RelayIPs         List[RelayIP]    `yaml:"relay_ips" jsonschema_description:"Addresses of this machine that allocations are spread over, each as IP or, behind NAT, as PUBLIC/LOCAL; they stand in for external_ip in their family."`
	URLs             List[ICEURL]     `yaml:"urls" jsonschema_description:"What clients are told instead of the URLs that follow from domain and listen, like turn:turn.example.com:3478?transport=udp; empty means those."`
	RelayPorts       PortRange        `yaml:"relay_ports" jsonschema_description:"UDP ports of relayed addresses, first-last."`
	PortRest         Duration         `yaml:"port_rest" jsonschema_description:"How long a relay port rests after use; 0 = not at all."`
	CredentialTTL    Duration         `yaml:"credential_ttl" jsonschema_description:"Lifetime of the credentials that rtcd hands out."`
	Revoked          List[string]     `yaml:"revoked" jsonschema_description:"Users whose credentials are worthless, however long they are valid: the part of the username after the colon."`
	Coalesce         Duration         `yaml:"coalesce" reload:"restart" jsonschema_description:"Longest pause of a worker under moderate load, at most 200us: less CPU for more latency; 0 = none. Linux only."`
	StrictExpiry     bool             `yaml:"strict_expiry" jsonschema_description:"End allocations when their credential expires, instead of letting them finish."`
	UDP              UDP              `yaml:"udp" reload:"restart" jsonschema_description:"Ways to save system calls, on Linux; each gives way by itself where the kernel refuses."`
	Peers            Peers            `yaml:"peers" jsonschema_description:"Whom clients may reach through the relay; allow is looked at first."`
	Limits           TurnLimits       `yaml:"limits" jsonschema_description:"Bounds of the relay; 0 = unlimited."`
}

// Discovery says who is asked for the public address.
type Discovery struct {
	Enabled  bool       `yaml:"enabled" jsonschema_description:"Ask at all. The answer is looked at again every few minutes."`
	Metadata bool       `yaml:"metadata" jsonschema_description:"Ask the metadata service of the cloud, at its link-local address."`
	STUN     List[Host] `yaml:"stun" jsonschema_description:"STUN servers, HOST:PORT; two of them must agree. Empty means none are asked."`
	Every    Duration   `yaml:"every" jsonschema_description:"How often all are asked again, besides when an address of this machine changes."`
}

// UDP says how datagrams are read and written.
type UDP struct {
	Batch bool `yaml:"batch" jsonschema_description:"Read and write many datagrams with one system call; false = the portable path, without gro and gso."`
	GRO   bool `yaml:"gro" jsonschema_description:"Let the kernel join received datagrams of one flow."`
	GSO   bool `yaml:"gso" jsonschema_description:"Let the kernel or the network card split what is sent."`
}

// Peers are the lists that decide on peers which are no relay address of ours.
type Peers struct {
	Allow List[PeerRule] `yaml:"allow" jsonschema_description:"Addresses or prefixes admitted even where deny names them."`
	Deny  List[PeerRule] `yaml:"deny" jsonschema_description:"Addresses or prefixes refused; recommended = private, loopback, link-local and all other special-purpose blocks."`
}

// TurnLimits bound what clients of the relay can take.
type TurnLimits struct {
	AllocationsPerUser     Count      `yaml:"allocations_per_user" jsonschema_description:"Allocations of one user (the part of the username after the colon)."`
	AllocationsPerIP       Count      `yaml:"allocations_per_ip" jsonschema_description:"Allocations of one IPv4 address or IPv6 /64."`
	Allocations            Count      `yaml:"allocations" jsonschema_description:"Allocations in all."`
	BandwidthPerAllocation Bitrate    `yaml:"bandwidth_per_allocation" jsonschema_description:"Payload of one allocation, in each direction."`
	PacketsPerAllocation   Count      `yaml:"packets_per_allocation" jsonschema_description:"Packets per second of one allocation, in each direction."`
	Permissions            Count      `yaml:"permissions" jsonschema_description:"Permissions of one allocation."`
	Channels               Count      `yaml:"channels" jsonschema_description:"Channels of one allocation."`
	NewPeersPerAllocation  Rate       `yaml:"new_peers_per_allocation" jsonschema_description:"Peers of one allocation that it had no permission for; 64 pass at once."`
	UnauthenticatedPerIP   Rate       `yaml:"unauthenticated_per_ip" jsonschema_description:"Error answers over UDP to requests without a valid password, per address."`
	FailedLoginsPerIP      Rate       `yaml:"failed_logins_per_ip" jsonschema_description:"Answers to wrong passwords, per address."`
	ConnectionsPerIP       Count      `yaml:"connections_per_ip" reload:"restart" jsonschema_description:"TCP, TLS and DTLS connections of one address."`
	Users                  UserLimits `yaml:"users" jsonschema_description:"Other bounds for users by name, such as the one name that all of go2rtc or Home Assistant share: NAME: {allocations, allocations_per_ip, bandwidth}."`
}

// Signaling is the hub.
type Signaling struct {
	Auth                Auth            `yaml:"auth" reload:"restart" jsonschema_description:"token = members need a join token, none = everybody may join."`
	Public              bool            `yaml:"public" jsonschema_description:"With auth none: hand out credentials that reach any peer, not only this relay itself."`
	TokenSecrets        List[string]    `yaml:"token_secrets" secret:"true" jsonschema_description:"Secrets of join tokens: the first signs, all verify."`
	TokenSecretFile     string          `yaml:"token_secret_file" jsonschema_description:"File with those secrets, one per line. Without either, one is generated in the state directory."`
	Origins             List[Origin]    `yaml:"origins" jsonschema_description:"Web origins whose pages may connect: self, * or https://host."`
	MaxMembers          Count           `yaml:"max_members" jsonschema_description:"Members of one room; 0 = unlimited."`
	StripHostCandidates bool            `yaml:"strip_host_candidates" jsonschema_description:"Keep private addresses in the ICE candidates and descriptions of native clients back; clients of one network then need the relay, or mDNS names as browsers use."`
	Limits              SignalingLimits `yaml:"limits" reload:"restart" jsonschema_description:"Bounds of one member; 0 = unlimited."`
	JWKS                JWKS            `yaml:"jwks" jsonschema_description:"Join tokens of another issuer, signed with ES256, EdDSA or RS256; their claims are room, name, sub, perms and exp."`
	Webhook             JoinHook        `yaml:"webhook" jsonschema_description:"Ask an endpoint of yours what a token is worth that nobody here has signed."`
	Dialects            Dialects        `yaml:"dialects" reload:"restart" jsonschema_description:"The protocols of other systems, which their own clients speak here."`
}

// JWKS says whose join tokens are good besides our own.
type JWKS struct {
	Source   string   `yaml:"source" jsonschema_description:"https address, or file, of the issuer's JWK set; empty means off."`
	Audience string   `yaml:"audience" jsonschema_description:"What a token's aud must name; empty is not looked at."`
	Issuer   string   `yaml:"issuer" jsonschema_description:"What a token's iss must be; empty is not looked at."`
	Refresh  Duration `yaml:"refresh" jsonschema_description:"How long keys are used before they are fetched again; a token with a new kid has them fetched at once, twice a minute at most. While that fails the old ones stay."`
}

// JoinHook is an endpoint that decides who may join.
type JoinHook struct {
	URL     string   `yaml:"url" jsonschema_description:"Address to which {event: join, token} is posted, signed; it answers {allow, room, name, subject, perms, ttl}. Empty means off."`
	Timeout Duration `yaml:"timeout" jsonschema_description:"Without an answer in this time nobody is let in."`
	Cache   Duration `yaml:"cache" jsonschema_description:"How long an answer holds for the same token; 0 = not at all."`
}

// Webhooks are the secrets that requests to your endpoints are signed with.
type Webhooks struct {
	Secrets    List[string] `yaml:"secrets" secret:"true" jsonschema_description:"Secrets of the HMAC-SHA256 in the header Rtcd-Signature; with several there is one for each."`
	SecretFile string       `yaml:"secret_file" jsonschema_description:"File with those secrets, one per line. Without either, one is generated in the state directory: webhook.secret."`
}

// Dialects are the protocols that the hub speaks besides its own.
type Dialects struct {
	P2P             bool   `yaml:"p2p" jsonschema_description:"Room chats of socket.io-p2p, at /socket.io/."`
	Pair            bool   `yaml:"pair" jsonschema_description:"A web page and a phone app of one user, at /socket.io/."`
	Call            bool   `yaml:"call" jsonschema_description:"Hand-written calls of everybody in a lobby, at /socket.io/."`
	Chat            bool   `yaml:"chat" jsonschema_description:"A chat room whose members call each other by name, at /socket.io/."`
	Easyrtc         bool   `yaml:"easyrtc" jsonschema_description:"Clients of easyrtc, at /socket.io/."`
	JSON            bool   `yaml:"json" jsonschema_description:"Login and calls in JSON over a plain WebSocket, at /json and /."`
	YWebRTC         bool   `yaml:"ywebrtc" jsonschema_description:"Clients of y-webrtc, at the same paths."`
	PeerJS          bool   `yaml:"peerjs" jsonschema_description:"Clients of PeerJS, at /peerjs, /KEY/id and /KEY/peers."`
	PeerJSDiscovery bool   `yaml:"peerjs_discovery" jsonschema_description:"Tell clients of PeerJS who else is there, at /KEY/peers."`
	IPAddr          bool   `yaml:"ipaddr" jsonschema_description:"Tell clients of pair the addresses of this machine."`
	Scripts         string `yaml:"scripts" jsonschema_description:"Directory whose folders socket.io and easyrtc hold what old pages load from /socket.io/ and /easyrtc/; empty means none."`
}

// SignalingLimits bound what one member can take.
type SignalingLimits struct {
	MessageBytes Size  `yaml:"message_bytes" jsonschema_description:"Length of one message."`
	Messages     Rate  `yaml:"messages" jsonschema_description:"Messages of one member."`
	Burst        Count `yaml:"burst" jsonschema_description:"Messages that one member may send at once."`
	Queue        Count `yaml:"queue" jsonschema_description:"Messages waiting for one member before it is closed as too slow."`
}

// Accounting is where the relay's books are kept.
type Accounting struct {
	File    string   `yaml:"file" jsonschema_description:"File of JSON lines: auto = accounting/accounting.jsonl in the state directory, or a path that ends with .jsonl; empty means off."`
	Keep    Duration `yaml:"keep" jsonschema_description:"Records older than this are forgotten, a day later at most; 0 = never."`
	Size    Size     `yaml:"size" jsonschema_description:"Bytes of all files together; the oldest go first. 0 = any."`
	Interim Duration `yaml:"interim" jsonschema_description:"How often live allocations that relay something are written down; 0 = never."`
	Webhook string   `yaml:"webhook" jsonschema_description:"Address to which the same records are posted, signed, in batches {records: […]}, and again until it takes them; empty means off."`
}

// AccountingAuto is the file's place in the state directory.
const AccountingAuto = "auto"

// Drain is the end of a process.
type Drain struct {
	Timeout Duration `yaml:"timeout" jsonschema_description:"How long live allocations may go on after SIGTERM; 0 = no limit."`
	Min     Count    `yaml:"min" jsonschema_description:"End as soon as at most this many allocations are left."`

	Alternate List[Endpoint] `yaml:"alternate" jsonschema_description:"Address and port of another relay with the same secret, one per family: clients are told to go there (300) while new allocations are refused; empty means they are only refused (508)."`
}

// Log is the log.
type Log struct {
	Level  LogLevel  `yaml:"level" jsonschema_description:"debug, info, warn or error."`
	Format LogFormat `yaml:"format" reload:"restart" jsonschema_description:"auto = text on a terminal, else json; or text, json."`
}

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		Check: AccessToken,
		Listen: Listen{
			HTTP:  List[Address]{":8080"},
			Turn:  List[Address]{":3478"},
			Admin: List[Address]{"127.0.0.1:9641"},
		},
		TLS: TLS{Mode: TLSAuto},
		Turn: Turn{
			ExternalIP: List[ExternalIP]{ExternalAuto},
			Discovery: Discovery{
				Metadata: true, Every: Duration(5 * time.Minute),
				STUN: List[Host]{"stun.cloudflare.com:3478", "stun.l.google.com:19302", "stun.nextcloud.com:443", "stun.miwifi.com:3478"},
			},
			PortMapping:   PortMappingOff,
			RelayPorts:    PortRange{49152, 65535},
			PortRest:      Duration(120 * time.Second),
			CredentialTTL: Duration(time.Hour),
			UDP:           UDP{Batch: true, GRO: true, GSO: true},
			Peers:         Peers{Deny: List[PeerRule]{PeersRecommended}},
			Limits: TurnLimits{
				AllocationsPerUser: 16, AllocationsPerIP: 64,
				BandwidthPerAllocation: 20_000_000,
				Permissions:            128, Channels: 64,
				NewPeersPerAllocation: Rate{5, time.Second},
				UnauthenticatedPerIP:  Rate{10, time.Second},
				FailedLoginsPerIP:     Rate{10, 10 * time.Second},
				ConnectionsPerIP:      32,
			},
		},
		Signaling: Signaling{
			Auth:       AuthToken,
			Origins:    List[Origin]{OriginSelf},
			MaxMembers: 50,
			Limits: SignalingLimits{
				MessageBytes: 64 << 10, Messages: Rate{50, time.Second}, Burst: 200, Queue: 256,
			},
			JWKS:    JWKS{Refresh: Duration(time.Hour)},
			Webhook: JoinHook{Timeout: Duration(3 * time.Second), Cache: Duration(10 * time.Second)},
			Dialects: Dialects{
				P2P: true, Pair: true, Call: true, Chat: true, Easyrtc: true,
				JSON: true, YWebRTC: true, PeerJS: true, IPAddr: true,
			},
		},
		SelfTest: Duration(5 * time.Minute),
		Accounting: Accounting{
			File: AccountingAuto, Keep: Duration(30 * 24 * time.Hour), Size: 1 << 30, Interim: Duration(time.Minute),
		},
		Drain: Drain{Timeout: Duration(300 * time.Second)},
		Log:   Log{Level: "info", Format: "auto"},
	}
}
