package udp

type fastSocket struct{}

func newFast(o Options) (Loop, error) { return newPlain(o), nil }
