package address

import "sync"

// parallel calls f with 0 to n−1 at once and returns when all have returned. A panic
// ends only its own call.
func parallel(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		// parallel owns it and waits for it; f ends it.
		all.Go(func() {
			defer func() { _ = recover() }()
			f(i)
		})
	}
	all.Wait()
}
