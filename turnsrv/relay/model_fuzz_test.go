package relay_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rtcd/turnsrv/relay"
)

const maxSteps = 30

// run plays the steps that the bytes stand for and says where server and model
// differ: two bytes of the world, then eight for each step.
func run(data []byte) error {
	if len(data) < 2 || play(data, nil) == nil {
		return nil
	}
	var story strings.Builder // worth its time only now
	err := play(data, &story)
	return fmt.Errorf("after%s\n%w", story.String(), err)
}

func play(data []byte, story *strings.Builder) (err error) {
	s := newSequence(data[0], data[1], story)
	defer func() {
		if v := recover(); v != nil {
			why, ok := v.(violation)
			if !ok {
				panic(v)
			}
			err = errors.New(string(why))
		}
	}()
	if data[1]&0x80 != 0 {
		s.warmUp()
	}
	for rest := data[2:]; len(rest) >= len(step{}) && s.step < maxSteps; rest = rest[len(step{}):] {
		s.step++
		a := step(rest)
		s.m.sweep(false)
		kinds[int(a[0])%len(kinds)](s, a)
		s.count()
	}
	s.end()
	if data[1]&1 == 0 {
		s.refill()
	}
	return nil
}

// warmUp gives two clients an allocation with a channel each, so that more of a
// sequence is about data.
func (s *sequence) warmUp() {
	for i := range byte(2) {
		s.allocate(step{0, i, 0, 0, 8, 0, 0, 8})
		s.channelBind(step{0, i, 0, 0, 0, 2 * i, 8})
	}
}

// count: the server's gauges are the model's.
func (s *sequence) count() {
	n := s.table.Len()
	if least := len(s.m.leases); n < least || n > least+len(s.m.stale) {
		s.fail("Len is %d, want %d to %d", n, least, least+len(s.m.stale))
	}
}

// end lets everything run out: then every gauge is zero.
func (s *sequence) end() {
	s.note("the end")
	s.shell.mode = works
	for len(s.shell.held) > 0 {
		s.opened(step{})
	}
	for _, c := range s.slots[:4] {
		if c.client != nil {
			s.disconnect(step{0, byte(s.index(c))})
		}
	}
	s.pass(step{0, 12, 1})
	if s.table.Len() != 0 || len(s.table.Allocations()) != 0 || len(s.shell.open) != 0 || s.live != 0 {
		s.fail("in the end %d allocations, %d sockets and %d unclosed are left", s.table.Len(), len(s.shell.open), s.live)
	}
}

func (s *sequence) index(c *slot) int {
	for i := range s.slots {
		if s.slots[i] == c {
			return i
		}
	}
	return 0
}

// refill takes all there is: the quotas and the ports are whole again.
func (s *sequence) refill() {
	s.pass(step{0, 6, 1})
	for _, u := range s.users {
		u.revoked, u.expires = false, 1<<40
	}
	s.policy.Draining, s.m.rules.drains = false, false
	s.unlimitedAnswers()
	s.table.SetPolicy(s.policy)
	s.few = nil
	limits, port := s.m.rules, uint16(10000)
	take := func(who *user, addr string) {
		port++
		s.m.now += 4 * time.Second // not too fast for one address
		c := s.newSlot(fmt.Sprintf("%s:%d", addr, port), "11.22.33.10:3478", relay.UDP, who)
		s.slots[0] = c
		s.allocate(step{0, 0, 0, 0, 8, 0, 0, 8})
	}
	for range limits.perUser + 1 { // the last one is one too many
		take(s.users[0], "11.22.33.101")
	}
	for range limits.perIP + 1 {
		take(s.users[1], "11.22.33.102")
		take(s.users[2], "11.22.33.102")
	}
	s.policy.Limits.Allocations, s.policy.Limits.AllocationsPerUser, s.policy.Limits.AllocationsPerIP = -1, -1, -1
	s.m.rules.total, s.m.rules.perUser, s.m.rules.perIP = 1000, 1000, 1000
	s.table.SetPolicy(s.policy)
	ports := int(s.policy.MaxPort-s.policy.MinPort) + 1
	for range ports - s.table.Len() + 1 {
		take(s.users[3], "11.22.33.103")
	}
	if n := s.table.Len(); n != ports {
		s.fail("%d of %d ports came back", n, ports)
	}
}

// FuzzSequence plays sequences of requests of several users, of data and of time
// against the model.
func FuzzSequence(f *testing.F) {
	for i := range uint64(40) {
		f.Add(randomSequence(rand.New(rand.NewPCG(i, 8656))))
	}
	for _, steps := range stories {
		f.Add(slices.Concat([]byte{1 | 16, 0}, slices.Concat(steps...)))
	}
	f.Add(slices.Concat([]byte{4<<5 | 16, 0}, slices.Concat(cappedStory...)))
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := run(data); err != nil {
			t.Fatal(err)
		}
	})
}

// Steps of the stories below, all of the first client.
var (
	dual        = []byte{0, 0, 0, 0, 8, 0, 32, 8} // both families
	single      = []byte{0, 0, 0, 0, 8, 0, 0, 8}
	bindIPv4    = []byte{10, 0, 0, 0, 0, 0, 8, 8}
	bindIPv6    = []byte{10, 0, 0, 0, 1, 9, 8, 8}
	dataToIPv4  = []byte{16, 0, 0, 0, 0, 5, 0, 0}
	dataToIPv6  = []byte{16, 0, 0, 0, 1, 5, 0, 0}
	releaseIPv4 = []byte{4, 0, 0, 0, 8, 1, 0, 8}
	releaseIPv6 = []byte{4, 0, 0, 0, 8, 2, 0, 8}
	holdOpens   = []byte{33, 6, 0, 0, 0, 0, 0, 0}
	failOpens   = []byte{33, 3, 0, 0, 0, 0, 0, 0}
	carryOut    = []byte{34, 0, 0, 0, 0, 0, 0, 0}
	disconnect  = []byte{37, 0, 99, 0, 0, 0, 0, 0}
	halfway     = []byte{22, 8, 0, 0, 0, 0, 0, 0} // 301 s without the server's clock
	unseen      = []byte{22, 7, 0, 0, 0, 0, 0, 0} // 299 s likewise
	clock       = []byte{22, 3, 1, 0, 0, 0, 0, 0}
)

// stories are sequences that chance needs long for.
var stories = [][][]byte{
	{dual, bindIPv4, bindIPv6, dataToIPv4, dataToIPv6, releaseIPv4, dataToIPv4, dataToIPv6, releaseIPv4, releaseIPv6, dataToIPv6},
	{{0, 0, 0, 0, 8, 0, 2, 8}, {0, 1, 0, 0, 8, 0, 0, 0}, {0, 1, 0, 0, 8, 0, 0, 8}},   // a pair, and the other client takes its token
	{holdOpens, dual, carryOut, failOpens, carryOut, bindIPv4, bindIPv6, dataToIPv4}, // IPv6 fails
	{holdOpens, single, disconnect, failOpens, carryOut, single},                     // gone before its socket fails
	{holdOpens, dual, carryOut, disconnect, carryOut, dual},                          // gone before its second one
	{single, bindIPv4, halfway, bindIPv4, unseen, dataToIPv4},                        // no clock has told that it expired
	{holdOpens, single, clock, single, carryOut, carryOut},                           // given up
}

// cappedStory: a second client, whose credential is for so many bytes and for relays
// only, talks with the first one through both their allocations until its bytes end.
var cappedStory = [][]byte{
	single,
	{0, 1, 0, 0, 8, 0, 0, 8},
	{10, 1, 0, 0, 0, 192, 8, 8},
	{6, 0, 0, 0, 0, 195, 0, 8},
	{16, 1, 0, 0, 0, 5, 0, 0},
	{13, 0, 0, 0, 5, 195, 0, 0},
	{16, 1, 0, 0, 0, 5, 0, 0},
	{13, 0, 0, 0, 5, 195, 0, 0},
	{16, 1, 0, 0, 0, 4, 0, 0},
	{10, 1, 0, 0, 1, 0, 8, 8},
}

func randomSequence(r *rand.Rand) []byte {
	data := make([]byte, 2+8*(1+r.IntN(maxSteps)))
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}

// The same with random sequences, as many in every run: 2,000, or 10⁵ in the long form.
func TestServerFollowsTheModel(t *testing.T) {
	n := 2000
	if os.Getenv("RTCD_TEST_LONG") == "1" {
		n = 100_000
	}
	start := time.Now()
	for i := range n {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		if err := run(randomSequence(r)); err != nil {
			t.Fatalf("sequence %d: %v", i, err)
		}
	}
	t.Logf("%d sequences in %v", n, time.Since(start))
}
