package relay

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/pion/stun/v3"
)

func hmac256(key, msg []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(msg)
	return h.Sum(nil)
}

func userhash(name string) [32]byte { return sha256.Sum256([]byte(name + ":" + testRealm)) }

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The vectors of RFC 5769 sections 2.1 to 2.4.
const (
	vectorRequest = `000100582112a442b7e7a701bc34d686fa87dfae
		802200105354554e207465737420636c69656e74
		002400046e0001ff80290008932ff9b151263b36
		000600096576746a3a68367659202020
		000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
		80280004e57a3bcf`
	vectorIPv4 = `0101003c2112a442b7e7a701bc34d686fa87dfae
		8022000b7465737420766563746f7220
		002000080001a147e112a643
		000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7
		80280004c07d4c96`
	vectorIPv6 = `010100482112a442b7e7a701bc34d686fa87dfae
		8022000b7465737420766563746f7220
		002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9
		00080014a382954e4be67bf11784c97c8292c275bfe3ed41
		80280004c8fb0b4c`
	vectorLongTerm = `000100602112a44278ad3433c6ad72c029da412e
		00060012e3839ee38388e383aae38383e382afe382b90000
		0015001c662f2f3439396b39353464364f4c33346f4c394653547679363473 41
		0014000b6578616d706c652e6f726700
		00080014f67024656dd64a3e02b8e0712e85c9a28ca89666`
)

func TestRFC5769Vectors(t *testing.T) {
	shortKey := []byte("VOkJxbRl1RmTxUk/WvJxBt")
	longKey := longTermKey(algMD5, "マトリックス", "example.org", "TheMatrIX")
	for name, v := range map[string]struct {
		hex     string
		key     []byte
		mapped  string
		padding []byte // the byte that SOFTWARE or USERNAME is padded with there
	}{
		"2.1 request":       {hex: vectorRequest, key: shortKey},
		"2.2 IPv4 response": {hex: vectorIPv4, key: shortKey, mapped: "192.0.2.1:32853"},
		"2.3 IPv6 response": {hex: vectorIPv6, key: shortKey, mapped: "[2001:db8:1234:5678:11:2233:4455:6677]:32853"},
		"2.4 long-term":     {hex: vectorLongTerm, key: longKey},
	} {
		raw := unhex(t, v.hex)
		var b Batch
		m, why, ok := parse(raw, &b)
		if !ok {
			t.Errorf("%s: does not parse: %v", name, why)
			continue
		}
		if !m.signedBy(v.key) {
			t.Errorf("%s: MESSAGE-INTEGRITY does not verify", name)
		}
		// And the other way: the same tag, bit for bit.
		tag := integrity(hmac.New(sha1.New, v.key), raw, m.mi, sha1.Size)
		if !bytes.Equal(tag, m.miTag) {
			t.Errorf("%s: we make %x, the vector has %x", name, tag, m.miTag)
		}
		if v.mapped != "" {
			value, _ := m.get(stun.AttrXORMappedAddress)
			got, ok := xorAddress(value, m.id)
			if !ok || got != netip.MustParseAddrPort(v.mapped) {
				t.Errorf("%s: address %v, want %s", name, got, v.mapped)
			}
			made := appendXORAddress(nil, stun.AttrXORMappedAddress, got, m.id)
			if !bytes.Equal(made[4:], value) {
				t.Errorf("%s: we make %x, the vector has %x", name, made[4:], value)
			}
		}
		if name != "2.4 long-term" {
			made := appendFingerprint(bytes.Clone(raw[:len(raw)-8]))
			if !bytes.Equal(made, raw) {
				t.Errorf("%s: FINGERPRINT %x, want %x", name, made[len(made)-4:], raw[len(raw)-4:])
			}
		}
	}
}

// Every one-bit mutant of a signed message is refused or fails to verify, but for those that
// make FINGERPRINT something else: that is no longer signed, nor obeyed.
func TestRFC5769Mutants(t *testing.T) {
	shortKey := []byte("VOkJxbRl1RmTxUk/WvJxBt")
	for name, v := range map[string]struct {
		hex string
		key []byte
	}{
		"2.1 request":       {vectorRequest, shortKey},
		"2.2 IPv4 response": {vectorIPv4, shortKey},
		"2.3 IPv6 response": {vectorIPv6, shortKey},
		"2.4 long-term":     {vectorLongTerm, longTermKey(algMD5, "マトリックス", "example.org", "TheMatrIX")},
	} {
		raw := unhex(t, v.hex)
		var b Batch
		whole, _, ok := parse(raw, &b)
		if !ok || !whole.signedBy(v.key) {
			t.Fatalf("%s: the vector itself does not verify", name)
		}
		fingerprint := whole.mi + 4 + sha1.Size // where its type is, if there is one
		for bit := range len(raw) * 8 {
			mutant := bytes.Clone(raw)
			mutant[bit/8] ^= 1 << (bit % 8)
			var b Batch
			m, _, ok := parse(mutant, &b)
			if other := bit/8 == fingerprint || bit/8 == fingerprint+1; ok && m.mi != 0 && m.signedBy(v.key) && !other {
				t.Errorf("%s: bit %d flipped and the message still verifies", name, bit)
			}
		}
	}
}
