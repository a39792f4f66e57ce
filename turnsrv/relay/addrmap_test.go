package relay

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
)

func randomAddrPort(r *rand.Rand) netip.AddrPort {
	b := [4]byte{11, 22, byte(r.IntN(4)), byte(r.IntN(256))}
	return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(r.IntN(64)))
}

// entry is a value with one key.
type entry struct{ key addrKey }

func (e *entry) at(k addrKey) bool { return e.key == k }

func TestAddrMapAgreesWithAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	m := addrMap[entry, *entry]{seed: [2]uint64{r.Uint64(), r.Uint64()}}
	model := map[addrKey]*entry{}
	for i := range 200000 {
		k := addrKey{a: randomAddrPort(r)}
		switch i % 3 {
		case 0, 1:
			v := &entry{k}
			_, taken := model[k]
			if m.store(k, v) == taken {
				t.Fatalf("store %v: taken %v", k, taken)
			}
			if !taken {
				model[k] = v
			}
		case 2:
			other := &entry{k}
			m.remove(k, other) // another's entry: must stay
			if m.load(k) != model[k] {
				t.Fatalf("removed %v by a pointer that is not there", k)
			}
			m.remove(k, model[k])
			delete(model, k)
		}
		if m.load(k) != model[k] {
			t.Fatalf("load %v = %v, want %v", k, m.load(k), model[k])
		}
	}
	for k, v := range model {
		if m.load(k) != v {
			t.Fatalf("%v lost", k)
		}
	}
}

func TestAddrMapReadersSeeEntriesThatStay(t *testing.T) {
	m := addrMap[entry, *entry]{seed: [2]uint64{3, 4}}
	stay := addrKey{a: netip.MustParseAddrPort("11.22.33.44:1"), b: netip.MustParseAddrPort("11.22.33.10:3478")}
	m.store(stay, &entry{stay})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 9))
			for range 20000 {
				k := addrKey{a: randomAddrPort(r)}
				v := &entry{k}
				if m.store(k, v) {
					m.remove(k, v)
				}
				if m.load(stay) == nil {
					t.Error("an entry nobody touched was gone for a moment")
					return
				}
			}
		})
	}
	wg.Wait()
}
