// Package address runs rtcd behind home routers and in a cloud, where its public address is on none of its interfaces:
//
//	client (11.22.33.23) ──┐
//	peer   (11.22.33.24) ──┤
//	STUN   (11.22.33.21) ──┼── core ── router (11.22.33.host) ── rtcd (192.168.host.2)
//	STUN   (11.22.33.22) ──┘
//
// It has to find the address by the way that a test leaves open (STUN servers, the metadata service of a cloud, the
// router itself over NAT-PMP or UPnP), to say why it advertises it, and to follow when it changes. The servers that it
// asks are fakes in namespaces; the routers that they are asked to open are real nftables.
package address
