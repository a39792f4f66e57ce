package main

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
)

// scripts are the files that old pages load from the server which they talk to: the
// folders socket.io and easyrtc of a directory. Nothing outside of it is reached,
// whatever an address or a symbolic link says.
type scripts struct{ root *os.Root }

// openScripts returns nil for no directory.
func openScripts(dir string) (*scripts, error) {
	if dir == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("signaling.dialects.scripts: %w", err)
	}
	return &scripts{root}, nil
}

func (s *scripts) close() {
	if s != nil {
		s.root.Close()
	}
}

// scriptTypes are the kinds of files that are served; the others do not exist.
var scriptTypes = map[string]string{
	".js":  "text/javascript; charset=utf-8",
	".mjs": "text/javascript; charset=utf-8",
	".map": "application/json",
	".css": "text/css; charset=utf-8",
	".png": "image/png",
	".gif": "image/gif",
	".jpg": "image/jpeg",
	".wav": "audio/wav",
}

// inFront serves what is asked for below /folder/ and named like a script; all else
// is next's.
func (s *scripts) inFront(folder string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, below := strings.CutPrefix(r.URL.Path, "/"+folder+"/")
		kind := scriptTypes[path.Ext(name)]
		switch {
		case !below || kind == "" || r.Method != http.MethodGet && r.Method != http.MethodHead:
			next.ServeHTTP(w, r)
		case s == nil:
			http.NotFound(w, r)
		default:
			s.serve(w, r, folder+"/"+name, kind)
		}
	})
}

func (s *scripts) serve(w http.ResponseWriter, r *http.Request, name, kind string) {
	info, err := s.root.Stat(name)
	if !fs.ValidPath(name) || err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	f, err := s.root.Open(name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, name, info.ModTime(), f)
}
