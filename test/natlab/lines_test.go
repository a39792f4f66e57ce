package natlab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rtcd/test/lab"
)

// Calls over bad lines connect all the same, and what they carry arrives whole.
func testBadLines(t *testing.T) {
	const calls = 8
	s := serve(t, nil)
	for _, line := range []lab.Impairment{
		{Loss: 0, Delay: 40 * time.Millisecond}, {Loss: 0.05, Delay: 40 * time.Millisecond}, {Loss: 0.2, Delay: 40 * time.Millisecond},
	} {
		for _, kinds := range []nat{nats[2], nats[3]} {
			t.Run(fmt.Sprintf("%v lost/%s", line.Loss, kinds), func(t *testing.T) {
				first, second := home(t, kinds...), home(t, kinds...)
				must(t, first.Impair(line))
				var took []time.Duration
				paths := map[string]int{}
				for range calls {
					t.Run("call", func(t *testing.T) {
						_, found := meetWith(t, ours(t, s, first, memberOptions{}), ours(t, s, second, memberOptions{}), load/10)
						took = append(took, found.Took)
						paths[found.String()]++
					})
				}
				record(t, badLines, goOnly, kinds, fmt.Sprintf("%v %%", 100*line.Loss), fmt.Sprintf("%d ms", line.Delay.Milliseconds()), calls,
					len(took), tally(paths), middle(took), slices.Max(append(took, 0)))
			})
		}
	}
}

// tally tells what was seen how often.
func tally(seen map[string]int) string {
	var list []string
	for _, what := range slices.Sorted(maps.Keys(seen)) {
		list = append(list, fmt.Sprintf("%d× %s", seen[what], what))
	}
	return strings.Join(list, "; ")
}

func middle(list []time.Duration) time.Duration {
	if len(list) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(list))[len(list)/2]
}

// F5: the allocations that a roaming client leaves behind do not use up its quota.
func testMovingAgainAndAgain(t *testing.T) {
	const times = 6
	s := serve(t, nil)
	alice, bob := home(t, lab.Symmetric), home(t, lab.Symmetric)
	p, _ := meet(t, ours(t, s, alice, memberOptions{}), ours(t, s, bob, memberOptions{}))
	for i := range times {
		r := p.survive(t, p[0], false, alice.Roam)
		record(t, moves, goOnly, fmt.Sprintf("to another network, symmetric, number %d", i+1), "relayed", p.path(t), r.signaling, r.media)
		t.Logf("%v allocations, %v refused by the quota", s.metric(t, `rtcd_turn_allocations\{.*\}`), s.metric(t, `rtcd_turn_\w+\{[^}]*"486"[^}]*\}`))
	}
	p.wantNoGhost(t, s)
}
