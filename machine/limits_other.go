//go:build !linux

package machine

// OpenFiles is not known here.
func OpenFiles() (most uint64, ok bool) { return 0, false }

// ReceiveBuffer is not known here.
func ReceiveBuffer(int) (got int, ok bool) { return 0, false }

// Synchronized is not known here.
func Synchronized() (yes, ok bool) { return false, false }
