package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"rtcd/creds"
	"rtcd/integrate"
)

// minted is a credential with the URLs that it is for, and the secret that signed it.
type minted struct {
	creds.Credential
	realm, secret string
	stun, turn    []string
}

// credentialFormat is one way to print a credential.
type credentialFormat struct {
	name, about string
	print       func(io.Writer, minted) error
}

// credentialFormats lists them, by what will read them.
func credentialFormats() []credentialFormat {
	return []credentialFormat{
		{"json", "as GET /api/v1/ice-servers answers", printICE},
		{"env", "variables for a shell", printEnv},
		{"trickle-ice", "what to paste into the public test page", printTrickleICE},
		{"uberti", "as the TURN REST API answers: username, password, ttl, uris", printREST},
		{"rest", "the same", printREST},
		{"rtc-config", "the argument of new RTCPeerConnection", printConfiguration},
		{"go2rtc", "its YAML, also Frigate's", printPair("go2rtc")},
		{"home-assistant", "its YAML", printPair("home-assistant")},
		{"pairdrop", "its RTC_CONFIG file", printPair("pairdrop")},
		{"livekit", "its YAML, with the pair in place of the secret", printPair("livekit")},
		{"coturn-secret", "no pair, but the lines with which a coturn takes the same ones", printCoturn},
	}
}

func findFormat(name string) (func(io.Writer, minted) error, bool) {
	for _, f := range credentialFormats() {
		if f.name == name {
			return f.print, true
		}
	}
	return nil, false
}

func formatNames() (names []string) {
	for _, f := range credentialFormats() {
		names = append(names, f.name)
	}
	return names
}

func formatList() string {
	var b strings.Builder
	for _, f := range credentialFormats() {
		fmt.Fprintf(&b, "  %-15s %s\n", f.name, f.about)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func printICE(w io.Writer, m minted) error {
	return printJSON(w, map[string]any{
		"iceServers": iceServers(m.stun, m.turn, m.Credential),
		"ttl":        int(m.TTL.Seconds()),
		"expiresAt":  m.Expires.UTC().Format(time.RFC3339),
	})
}

func printConfiguration(w io.Writer, m minted) error {
	return printJSON(w, map[string]any{"iceServers": iceServers(m.stun, m.turn, m.Credential)})
}

func printREST(w io.Writer, m minted) error {
	return printJSON(w, map[string]any{
		"username": m.Username, "password": m.Password, "ttl": int(m.TTL.Seconds()), "uris": m.turn,
	})
}

func printEnv(w io.Writer, m minted) error {
	_, err := fmt.Fprintf(w, "TURN_URLS=%s\nTURN_USERNAME=%s\nTURN_CREDENTIAL=%s\nTURN_REALM=%s\n",
		shellQuote(strings.Join(m.turn, ",")), shellQuote(m.Username), shellQuote(m.Password), shellQuote(m.realm))
	return err
}

// server is the relay as integrate knows it.
func (m minted) server() integrate.Server {
	return integrate.Server{
		STUN: m.stun, TURN: m.turn, Realm: m.realm, Secret: m.secret, TTL: m.TTL,
		Username: m.Username, Password: m.Password, Expires: m.Expires,
	}
}

// printPair prints the pair as that app has it in its configuration.
func printPair(app string) func(io.Writer, minted) error {
	return func(w io.Writer, m minted) error {
		text, err := integrate.PairSnippet(app, m.server())
		if err != nil {
			return err
		}
		_, err = io.WriteString(w, text)
		return err
	}
}

func printCoturn(w io.Writer, m minted) error {
	coturn, _ := integrate.Find("coturn")
	text, err := coturn.Snippet(m.server())
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

func printTrickleICE(w io.Writer, m minted) error {
	var b strings.Builder
	b.WriteString("On https://webrtc.github.io/samples/src/content/peerconnection/trickle-ice/ remove the server\n" +
		"that is listed, fill in the three fields, press Add Server, once for each URI, then Gather candidates.\n\n")
	for _, uri := range m.turn {
		fmt.Fprintf(&b, "STUN or TURN URI:  %s\n", uri)
	}
	fmt.Fprintf(&b, "TURN username:     %s\nTURN password:     %s\n\n", m.Username, m.Password)
	paste, err := trickleICEServers(m)
	if err != nil {
		return err
	}
	fmt.Fprintf(&b, "Or paste this line into the console of that page:\n\n"+
		"localStorage.setItem('servers', %s); location.reload()\n\n"+
		"Good until %s. A line of type \"relay\" means that it works.\n", paste, m.Expires.Format("2006-01-02 15:04:05 MST"))
	_, err = io.WriteString(w, b.String())
	return err
}

// trickleICEServers is the list of servers as that page keeps it: JSON in a
// JavaScript string.
func trickleICEServers(m minted) ([]byte, error) {
	type server struct {
		URLs       []string `json:"urls"`
		Username   string   `json:"username"`
		Credential string   `json:"credential"`
	}
	var list []server
	for _, uri := range m.turn {
		list = append(list, server{[]string{uri}, m.Username, m.Password})
	}
	inner, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return json.Marshal(string(inner))
}
