package socketio

import (
	"bytes"
	_ "embed"
	"net/http"
	"time"
)

//go:embed shim.js
var shim []byte

// ServeShim serves the script that gives today's browsers back what the library of
// the vocabulary p2p asks of them.
func ServeShim(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*") // it holds nothing that is anybody's
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	http.ServeContent(w, r, "legacy-shim.js", time.Time{}, bytes.NewReader(shim))
}
