package signaling

import (
	"strconv"
	"time"
)

// ICE mints the relay's credentials for members and takes them back. The hub knows
// nothing else of the relay.
type ICE interface {
	// Mint returns fresh ICE servers for one member, valid for TTL. The member is
	// its peer id; after a Revoke the same member is PEER.2, PEER.3 …, so that what
	// it gets when it joins again is not what was revoked. It is called under a lock: it must not block and not call the hub.
	Mint(member string) ICEServers
	// Revoke: credentials minted for member stop working for new allocations and
	// its live allocations end.
	Revoke(member string)
}

// ICEServers is what new RTCPeerConnection wants, and for how long it is good.
type ICEServers struct {
	Servers []ICEServer
	TTL     time.Duration
}

// ICEServer is one entry of iceServers.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// reuse is how long credentials that were just minted are handed out again to the
// same member, so that asking often costs nothing.
const reuse = time.Minute

// openings bounds how often one member gets credentials after it has given some back, by
// leaving its last room: each time those are revoked, which is remembered for as long as they
// would have held.
var openings = rateLimit{1.0 / 60, 10}

// purse holds the credentials last minted for one member.
type purse struct {
	servers *ICEServers
	minted  time.Time
	stale   bool // to be minted anew before it is handed out again
	revoked int  // times
	opened  bucket
}

// affords says whether the member may have credentials: it has some, or did not give too many
// back lately.
func (p *purse) affords(now time.Time) bool {
	p.opened.refill(now, openings)
	return p.servers != nil || p.opened.left >= 1
}

// open returns servers and the whole seconds they are still good for, minting
// new ones unless those at hand are younger than a minute.
func (p *purse) open(now time.Time, ice ICE, peer string) (*ICEServers, int) {
	if ice == nil {
		return nil, 0
	}
	if p.servers == nil || p.stale || now.Sub(p.minted) >= min(reuse, p.servers.TTL/2) {
		if p.servers == nil {
			p.opened.take(now, openings)
		}
		servers := ice.Mint(p.user(peer))
		p.servers, p.minted, p.stale = &servers, now, false
	}
	left := p.servers.TTL - now.Sub(p.minted)
	return p.servers, int((left + time.Second - 1) / time.Second)
}

// close forgets the credentials and returns the user to be revoked, "" if there
// was nothing.
func (p *purse) close(peer string) string {
	if p.servers == nil {
		return ""
	}
	user := p.user(peer)
	*p = purse{revoked: p.revoked + 1, opened: p.opened}
	return user
}

func (p *purse) user(peer string) string {
	if p.revoked == 0 {
		return peer
	}
	return peer + "." + strconv.Itoa(p.revoked+1)
}

// due is when the next ones should be pushed; zero is never.
func (p *purse) due() time.Time {
	switch {
	case p.servers == nil:
		return time.Time{}
	case p.stale:
		return p.minted
	case p.servers.TTL <= 0:
		return time.Time{}
	}
	return p.minted.Add(p.servers.TTL / 2)
}
