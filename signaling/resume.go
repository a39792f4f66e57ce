package signaling

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"strings"

	"rtcd/creds"
)

// resumer makes and checks resume tokens:
//
//	<peer id> "." base64url(generation[8] HMAC-SHA256(key, peer id 0 generation)[32])
//
// Nothing is kept for a token but the session's generation, which the session
// itself compares.
type resumer struct{ key []byte }

func newResumer(master []byte) resumer {
	return resumer{key: creds.Derive(master, creds.PurposeResume, 32)}
}

func (r resumer) sign(peer string, generation uint64) string {
	b := binary.BigEndian.AppendUint64(nil, generation)
	b = append(b, r.mac(peer, b)...)
	return peer + "." + base64.RawURLEncoding.EncodeToString(b)
}

func (r resumer) mac(peer string, generation []byte) []byte {
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(peer))
	mac.Write([]byte{0})
	mac.Write(generation)
	return mac.Sum(nil)
}

// verify returns what the token names, if it is one of ours.
func (r resumer) verify(token string) (peer string, generation uint64, ok bool) {
	peer, tail, found := strings.Cut(token, ".")
	if !found {
		return "", 0, false
	}
	b, err := base64.RawURLEncoding.DecodeString(tail)
	if err != nil || len(b) != 8+sha256.Size || !hmac.Equal(b[8:], r.mac(peer, b[:8])) {
		return "", 0, false
	}
	return peer, binary.BigEndian.Uint64(b), true
}

// knows says whether the token is one of ours.
func (r resumer) knows(token string) bool {
	_, _, ok := r.verify(token)
	return ok
}

var peerAlphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newPeerID returns 128 random bits as 26 letters and digits: fit for a TURN user
// name, a bus subject and a command line.
func newPeerID() string {
	var b [16]byte
	rand.Read(b[:])
	return peerAlphabet.EncodeToString(b[:])
}
