//go:build !linux

package turnsrv

import "syscall"

func streamSockopts(_, _ string, _ syscall.RawConn) error { return nil }
