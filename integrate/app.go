package integrate

import (
	"embed"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"text/template"
)

// App is a program that can use the relay.
type App struct {
	Name  string // as on the command line
	Title string // as its makers write it
	Where string // where the snippet goes, one line
	Pair  bool   // it takes only a fixed pair, no secret
	Notes string // what else there is to know, one line or none

	// needs tells why a server cannot be used by it; nil = any can.
	needs func(Server) error
}

//go:embed snippets/*.tmpl
var snippetFiles embed.FS

// Every value of a template goes through one of these, each the quoting of a syntax.
var snippets = template.Must(template.New("").Option("missingkey=error").Funcs(template.FuncMap{
	"json":  quoteJSON, // of YAML, HCL and JavaScript too
	"lua":   quoteLua,
	"shell": quoteShell,
	"env":   quoteEnv,
	"xml":   quoteXML,
	"line":  oneLine,
	"conf":  quoteLibconfig,
}).ParseFS(snippetFiles, "snippets/*.tmpl"))

// Apps lists them by name.
func Apps() []App {
	return []App{
		{
			Name: "bbb", Title: "BigBlueButton",
			Where: "/etc/bigbluebutton/turn-stun-servers.xml in place of what is there, then: bbb-conf --restart",
		},
		{
			Name: "coturn", Title: "coturn",
			Where: "/etc/turnserver.conf of a coturn that shall take the same credentials",
			Notes: "To write a configuration of rtcd from coturn's: rtcd integrate coturn /etc/turnserver.conf",
		},
		{
			Name: "ejabberd", Title: "ejabberd",
			Where: "/etc/ejabberd/ejabberd.yml, joined with the modules that are there, then: ejabberdctl reload_config",
		},
		{
			Name: "galene", Title: "Galene",
			Where: "data/ice-servers.json; it is read anew by itself",
		},
		{
			Name: "go2rtc", Title: "go2rtc", Pair: true,
			Where: "go2rtc.yaml; for Frigate under go2rtc: in its config.yml, two spaces further in",
		},
		{
			Name: "home-assistant", Title: "Home Assistant", Pair: true,
			Where: "configuration.yaml, then restart Home Assistant",
		},
		{
			Name: "janus", Title: "Janus",
			Where: "the section nat of janus.jcfg, then restart Janus",
			needs: func(s Server) error {
				if s.APIKey != "" && s.Site == nil {
					return errors.New("no pages here, and Janus asks over HTTP: set listen.https or listen.http")
				}
				return nil
			},
			Notes: "With a key in turn.api_keys Janus fetches fresh credentials; without one it gets a fixed pair.",
		},
		{
			Name: "jitsi", Title: "Jitsi Meet (docker-jitsi-meet)",
			Where: ".env of docker-jitsi-meet, then: docker compose up -d",
			Notes: "Debian's packages of Jitsi take the snippet for prosody instead.",
		},
		{
			Name: "livekit", Title: "LiveKit (Element Call)",
			Where: "livekit.yaml, joined with the section rtc that is there, then restart LiveKit",
		},
		{
			Name: "mattermost", Title: "Mattermost Calls",
			Where: "the environment of the Mattermost server, or the same fields in System Console > Plugins > Calls",
		},
		{
			Name: "mediamtx", Title: "MediaMTX",
			Where: "mediamtx.yml in place of its webrtcICEServers2; it is read anew by itself",
		},
		{
			Name: "nextcloud", Title: "Nextcloud Talk",
			Where: "a shell on the Nextcloud server, in Nextcloud's directory (where occ is)",
			Notes: "The secret shows in the shell's history: begin each line with a space, or use the page \"Talk\" of the administration settings.",
		},
		{
			Name: "pairdrop", Title: "PairDrop", Pair: true,
			Where: "a file that the variable RTC_CONFIG of PairDrop names, like rtc_config.json",
		},
		{
			Name: "peerjs", Title: "PeerJS", Pair: true,
			Where: "the script of your page, in place of its new Peer(…)",
			Notes: "Whoever can open the page can read the pair. rtcd can be the PeerJS server too, and then hands out fresh credentials with OPEN.",
			needs: func(s Server) error {
				if s.Site == nil {
					return errors.New("no pages here, and PeerJS needs a server to meet at: set listen.https or listen.http")
				}
				return nil
			},
		},
		{
			Name: "prosody", Title: "Prosody",
			Where: "/etc/prosody/prosody.cfg.lua before the first VirtualHost, with \"turn_external\" in modules_enabled, then: prosodyctl reload",
		},
		{
			Name: "screego", Title: "screego",
			Where: "its environment, like screego.config or the compose file",
		},
		{
			Name: "spreed-signaling", Title: "Nextcloud Talk's signaling server",
			Where: "the section [turn] of /etc/signaling/server.conf, then restart the server",
			Notes: "Give Janus the same apikey as turn_rest_api_key.",
		},
		{
			Name: "synapse", Title: "Matrix Synapse",
			Where: "homeserver.yaml, then restart Synapse",
		},
	}
}

// Names lists the names of the apps.
func Names() (names []string) {
	for _, a := range Apps() {
		names = append(names, a.Name)
	}
	return names
}

// Find finds an app by name.
func Find(name string) (App, bool) {
	for _, a := range Apps() {
		if a.Name == name {
			return a, true
		}
	}
	return App{}, false
}

// Snippet is the finished part of the app's configuration.
func (a App) Snippet(s Server) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	if a.needs != nil {
		if err := a.needs(s); err != nil {
			return "", err
		}
	}
	var b strings.Builder
	if err := snippets.ExecuteTemplate(&b, a.Name+".tmpl", s); err != nil {
		return "", fmt.Errorf("%s: %w", a.Name, err)
	}
	return b.String(), nil
}

// PairSnippet is the part of an app's configuration with the server's fixed pair; for an
// app that takes both a secret and a pair, the other one than its Snippet.
func PairSnippet(name string, s Server) (string, error) {
	if err := s.check(); err != nil {
		return "", err
	}
	var b strings.Builder
	template := snippets.Lookup(name + "-pair.tmpl")
	if a, known := Find(name); known && a.Pair {
		template = snippets.Lookup(name + ".tmpl")
	}
	if template == nil {
		return "", fmt.Errorf("%s takes no fixed pair", name)
	}
	if err := template.Execute(&b, s); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return b.String(), nil
}

// quoteJSON is a string or a list of strings in JSON. YAML and JavaScript read it alike.
func quoteJSON(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// quoteLua is a string of Lua, in which only these and line breaks are special.
func quoteLua(s string) (string, error) {
	if _, err := oneLine(s); err != nil {
		return "", err
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`, nil
}

// quoteLibconfig is a string of libconfig, which has the same rule.
func quoteLibconfig(s string) (string, error) { return quoteLua(s) }

// quoteEnv is a value in a file of environment variables. Programs agree on single
// quotes, and on nothing that could be between them.
func quoteEnv(s string) (string, error) {
	if strings.ContainsAny(s, "'\r\n\x00") {
		return "", errUnquotable
	}
	return "'" + s + "'", nil
}

// errUnquotable is that a secret would not come back as it is.
var errUnquotable = errors.New("the secret has characters that this file cannot hold; make one of hexadecimal digits: openssl rand -hex 32")

func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func quoteXML(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// oneLine is for files that have no quoting at all: it refuses what would not come
// back as it was.
func oneLine(s string) (string, error) {
	if strings.ContainsAny(s, "\r\n\x00") || strings.TrimSpace(s) != s || strings.HasPrefix(s, `"`) || strings.HasPrefix(s, "#") {
		return "", errUnquotable
	}
	return s, nil
}
