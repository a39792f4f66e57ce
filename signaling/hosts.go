package signaling

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
)

// Host candidates tell the addresses that a machine has in its own network. Browsers hide
// those behind names that only that network resolves (mDNS); other clients write them out.

// stripHosts takes the private addresses out of the data of a signal: out of each string in
// it, but for names of fields, that is a candidate or a session description. It returns the data, the same bytes where
// there is nothing to take out, and false where the data is a host candidate with such an
// address, and so not to be passed on. data is valid JSON.
func stripHosts(data []byte) ([]byte, bool) {
	if !bytes.Contains(data, []byte("candidate:")) && !bytes.Contains(data, []byte("c=IN ")) {
		return data, true
	}
	var out []byte
	kept := 0 // data[:kept] is in out
	for i := 0; i < len(data); i++ {
		if data[i] != '"' {
			continue
		}
		start := i
		for i++; i < len(data) && data[i] != '"'; i++ {
			if data[i] == '\\' {
				i++
			}
		}
		if i >= len(data) {
			break
		}
		if bytes.HasPrefix(bytes.TrimLeft(data[i+1:], " \t\r\n"), []byte(":")) {
			continue // a field's name
		}
		text, changed, pass := stripString(data[start : i+1])
		if !pass {
			return nil, false
		}
		if changed {
			out = append(append(out, data[kept:start]...), text...)
			kept = i + 1
		}
	}
	if kept == 0 {
		return data, true
	}
	return append(out, data[kept:]...), true
}

// stripString is stripHosts for one string, with its quotes.
func stripString(quoted []byte) (text []byte, changed, pass bool) {
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil, false, true
	}
	strip := stripCandidate
	if !strings.HasPrefix(s, "candidate:") {
		strip = stripDescription
	}
	stripped, pass := strip(s)
	if !pass {
		return nil, false, false
	}
	if stripped == s {
		return nil, false, true
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(stripped) != nil {
		return nil, false, true
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), true, true
}

// stripDescription takes the lines of private host candidates out of a session description
// (RFC 8866), and private addresses out of what else names the default candidate. It always returns true.
func stripDescription(sdp string) (string, bool) {
	var out strings.Builder
	for line := range strings.SplitAfterSeq(sdp, "\n") {
		text := strings.TrimRight(line, "\r\n")
		end := line[len(text):]
		switch {
		case strings.HasPrefix(text, "a=candidate:"):
			candidate, pass := stripCandidate(text[len("a="):])
			if !pass {
				continue
			}
			text = "a=" + candidate
		case strings.HasPrefix(text, "c=IN "), strings.HasPrefix(text, "a=rtcp:"):
			fields := strings.Split(text, " ")
			hide(&fields[len(fields)-1])
			text = strings.Join(fields, " ")
		}
		out.WriteString(text + end)
	}
	return out.String(), true
}

// stripCandidate takes the private address that a candidate is related to out of it. It
// returns false for a host candidate that is private itself (RFC 8839, section 5.1):
//
//	candidate:FOUNDATION COMPONENT TRANSPORT PRIORITY ADDRESS PORT typ TYPE [raddr ADDRESS rport PORT] …
func stripCandidate(candidate string) (string, bool) {
	fields := strings.Split(candidate, " ")
	if len(fields) < 8 || fields[6] != "typ" {
		return candidate, true
	}
	if fields[7] == "host" && isPrivate(fields[4]) {
		return "", false
	}
	for i := 8; i+1 < len(fields); i += 2 {
		if fields[i] == "raddr" {
			hide(&fields[i+1])
		}
	}
	return strings.Join(fields, " "), true
}

// hide puts the unspecified address in place of a private one.
func hide(field *string) {
	switch {
	case !isPrivate(*field):
	case strings.Contains(*field, ":"):
		*field = "::"
	default:
		*field = "0.0.0.0"
	}
}

// carrierNAT is what providers use inside (RFC 6598).
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// isPrivate says whether text is an address that means something in one network only. A name
// is none, nor is what cannot be read.
func isPrivate(text string) bool {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return false
	}
	a = a.Unmap()
	return a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsLoopback() || carrierNAT.Contains(a)
}

// strips says whether a message of the native protocol may be passed on, and has taken out of
// it what Options.StripHostCandidates keeps back.
func (h *Hub) strips(m *Message) bool {
	if !h.stripHosts.Load() || m.Type != TypeSignal {
		return true
	}
	switch m.Kind {
	case "offer", "answer", "candidate":
	default:
		return true
	}
	data, pass := stripHosts(m.Data)
	if !pass {
		h.metrics.stripped.Inc()
		return false
	}
	m.Data = data
	return true
}
