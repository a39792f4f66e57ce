package main

// fault is one mistake that somebody could make, or has made: several are in the
// published advisories of TURN servers.
type fault struct {
	name    string
	folder  string // of the fuzzer
	fuzzer  string
	changes []change
}

// change replaces old, which must be in the file exactly once.
type change struct{ file, old, planted string }

const core = "turnsrv/relay"

var faults = []fault{
	{"a frame of size 0 is accepted", "turnsrv", "FuzzScanFrame", []change{
		{"turnsrv/frame.go", "n = 4 + (length+3)&^3", "n = (length + 3) &^ 3"},
	}},
	{"the length of a frame overflows 16 bits", "turnsrv", "FuzzScanFrame", []change{
		{"turnsrv/frame.go", "n = 4 + (length+3)&^3", "n = int(4 + uint16(length+3)&^3)"},
	}},
	{"a LIFETIME after MESSAGE-INTEGRITY is obeyed", core, "FuzzSequence", []change{
		{core + "/message.go", "case m.mi != 0:", "case m.mi != 0 && a.Type != stun.AttrLifetime:"},
	}},
	{"no owner check", core, "FuzzSequence", []change{
		{core + "/request.go", "case a.username != r.username:", "case false:"},
	}},
	{"no permission is needed from peers", core, "FuzzSequence", []change{
		{core + "/data.go", "if perm == nil || !perm.live(in.now) {", "if perm == nil {\nperm = &permission{addr: in.peer.Addr()}\n}\nif false {"},
	}},
	{"the policy forgets mapped addresses", core, "FuzzPolicy", []change{
		{core + "/policy.go", "case addr.Is4In6(), compatible.Contains(addr)", "case compatible.Contains(addr)"},
		{core + "/policy.go", "|| a.Is4In6() ||", "||"},
	}},
	{"the quota is not counted down", core, "FuzzSequence", []change{
		{core + "/quota.go", "if q.users[user]--; q.users[user] == 0 {", "if q.users[user] == 0 {"},
	}},
	{"a channel may change its peer", core, "FuzzSequence", []change{
		{core + "/control.go", "if c != v.channelTo(peer) {", "if false {"},
	}},
	{"an expired permission still relays", core, "FuzzSequence", []change{
		{core + "/allocation.go", "{ return p.expires.Load() > int64(now.Mono) }", "{ return p.expires.Load() > 0 }"},
	}},
	{"the nonce of another address is accepted", core, "FuzzSequence", []change{
		{core + "/nonce.go", "copy(in[5:], a[:])", "_ = a"},
		{core + "/nonce.go", "binary.BigEndian.PutUint16(in[21:], client.Port())", ""},
	}},
	{"the reserved port is handed out again", core, "FuzzSequence", []change{
		{core + "/ports.go", "		if want == portPair {\n			p.remove(port + 1)\n		}\n", ""},
	}},
	{"a freed port does not rest", core, "FuzzSequence", []change{
		{core + "/table.go", "s.Local.Port(), now.Mono+t.policy.Load().PortRest)", "s.Local.Port(), now.Mono)"},
	}},
	{"anybody may take a reserved port", core, "FuzzSequence", []change{
		{core + "/allocate.go", "|| r.username != username ||", "||"},
	}},
	{"an expired allocation still relays", core, "FuzzSequence", []change{
		{core + "/data.go", "	if a == nil || !a.live(now) {\n		b.drop(NoAllocation)\n		return\n	}\n	ch := ", "	if a == nil {\n		b.drop(NoAllocation)\n		return\n	}\n	ch := "},
	}},
	{"a CreatePermission is obeyed up to its first bad peer", core, "FuzzSequence", []change{
		{core + "/control.go", "		peers = append(peers, peer.Addr())\n", "		peers = append(peers, peer.Addr())\n		v, p := a.view.Load().permit(r.now, peer.Addr())\n		t.renew(r.now, p)\n		a.view.Store(v)\n"},
	}},
	{"a changed policy leaves flows alone", core, "FuzzSequence", []change{
		{core + "/data.go", "if got := v.Load(); got>>verdictBits == p.gen {", "if got := v.Load(); got != 0 {"},
	}},
	{"the bytes of a credential never end", core, "FuzzSequence", []change{
		{core + "/allocation.go", "if a.maxBytes > 0 && ", "if a.maxBytes < 0 && "},
	}},
	{"an expired credential makes allocations", core, "FuzzSequence", []change{
		{core + "/auth.go", "if r.login.Verdict != Valid {", "if r.login.Verdict != Valid && r.login.Verdict != Expired {"},
	}},
	{"unsigned tokens are taken", "creds", "FuzzToken", []change{
		{"creds/tokens.go", "	case errors.Is(err, jwt.ErrTokenSignatureInvalid):\n", "	case errors.Is(err, jwt.ErrTokenSignatureInvalid) && c.Room != \"\":\n	case errors.Is(err, jwt.ErrTokenSignatureInvalid):\n"},
	}},
}
