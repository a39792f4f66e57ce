package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	der  []byte
	key  *ecdsa.PrivateKey
}

func newKey(ts *testscript.TestScript) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	return key
}

// sign makes a certificate of a; nil signs itself.
func (a *authority) sign(ts *testscript.TestScript, t *x509.Certificate, key *ecdsa.PrivateKey) *authority {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	ts.Check(err)
	t.SerialNumber, t.BasicConstraintsValid = serial, true
	parent, signer := t, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, signer)
	ts.Check(err)
	cert, err := x509.ParseCertificate(der)
	ts.Check(err)
	return &authority{cert, der, key}
}

func ca(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
	}
}

// cmdCerts writes root.pem and stranger.pem, two roots; key.pem; and for that key
// full.pem (localhost, with the intermediate), leaf.pem (without), with-root.pem,
// expired.pem, soon.pem (4 days left), other.pem (another name), future.pem; and
// other-key.pem, which is for another key.
func cmdCerts(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	now, hour := time.Now(), time.Hour
	write := func(name string, kind string, ders ...[]byte) {
		var data []byte
		for _, der := range ders {
			data = append(data, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		ts.Check(os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	root := (*authority)(nil).sign(ts, ca("Test root", now), newKey(ts))
	middle := root.sign(ts, ca("Test intermediate", now), newKey(ts))
	stranger := (*authority)(nil).sign(ts, ca("Stranger", now), newKey(ts))
	write("root.pem", "CERTIFICATE", root.der)
	write("stranger.pem", "CERTIFICATE", stranger.der)
	key := newKey(ts)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	write("key.pem", "PRIVATE KEY", keyDER)
	leaf := func(from, until time.Time, names []string, ips []net.IP, key *ecdsa.PrivateKey) []byte {
		return middle.sign(ts, &x509.Certificate{
			Subject: pkix.Name{CommonName: "leaf"}, NotBefore: from, NotAfter: until, DNSNames: names, IPAddresses: ips,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}, key).der
	}
	here := []string{"localhost"}
	good := leaf(now.Add(-hour), now.Add(90*24*hour-hour), here, nil, key)
	write("leaf.pem", "CERTIFICATE", good)
	write("full.pem", "CERTIFICATE", good, middle.der)
	write("with-root.pem", "CERTIFICATE", good, middle.der, root.der)
	write("expired.pem", "CERTIFICATE", leaf(now.AddDate(0, -3, 0), now.Add(-hour), here, nil, key), middle.der)
	write("soon.pem", "CERTIFICATE", leaf(now.AddDate(0, 0, -85), now.Add(5*24*hour-hour), here, nil, key), middle.der)
	write("future.pem", "CERTIFICATE", leaf(now.Add(48*hour), now.AddDate(0, 3, 0), here, nil, key), middle.der)
	write("other.pem", "CERTIFICATE", leaf(now.Add(-hour), now.AddDate(0, 3, 0), []string{"other.example"}, []net.IP{net.IPv4(192, 0, 2, 1)}, key), middle.der)
	write("other-key.pem", "CERTIFICATE", leaf(now.Add(-hour), now.AddDate(0, 3, 0), here, nil, newKey(ts)), middle.der)
}
