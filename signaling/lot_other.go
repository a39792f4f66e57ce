//go:build !linux

package signaling

const lotWorks = false

// lot is where idle sockets wait without a goroutine; not on this system.
type lot struct{}

func (*lot) park(*socket) bool { return false }
func (*lot) wake(*socket)      {}
func (*lot) close()            {}
