package drops

import (
	"math/rand/v2"
	"testing"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
)

func TestBounds(t *testing.T) {
	for name, test := range map[string]struct {
		o         observed
		low, high uint64
	}{
		"nothing": {observed{conserved: true}, 0, 0},
		"all confirmed": {
			observed{bytes: 480, failed: 3, failedBytes: 144, minLen: 48, maxLen: 48, leastMoved: 336, mostMoved: 336, conserved: true}, 3, 3,
		},
		"one size, one refused call reserved": {
			observed{bytes: 480, failed: 3, failedBytes: 144, unsureRefused: 3, minLen: 48, maxLen: 48, leastMoved: 384, mostMoved: 384,
				conserved: true}, 2, 2,
		},
		"one size, two reserved calls failed, which no check was unsure of": {
			observed{bytes: 480, failed: 3, failedBytes: 144, minLen: 48, maxLen: 48, leastMoved: 240, mostMoved: 240, conserved: true}, 5, 5,
		},
		"many sizes, the bytes agree, one pair may have been swapped": {
			observed{bytes: 1000, failed: 3, failedBytes: 144, unsureRefused: 1, unsureReserved: 2, minLen: 16, maxLen: 48, leastMoved: 856,
				mostMoved: 856, conserved: true}, 3, 4,
		},
		"a call in flight": {
			observed{bytes: 480, failed: 3, failedBytes: 144, minLen: 48, maxLen: 48, leastMoved: 288, mostMoved: 336, conserved: true}, 3, 3,
		},
		"no positions": {observed{bytes: 480, failed: 3, unsureRefused: 1, unsureReserved: 2, minLen: 48, maxLen: 48}, 2, 5},
	} {
		if low, high := test.o.bounds(); low != test.low || high != test.high {
			t.Errorf("%s: between %d and %d; want %d and %d", name, low, high, test.low, test.high)
		}
	}
}

// Whatever the calls were, and wherever the computed outcome was wrong, the truth is within the bounds.
func TestBoundsHoldTheTruth(t *testing.T) {
	for seed := range uint64(20000) {
		rnd := rand.New(rand.NewPCG(seed, 17))
		sizes := 1 + rnd.IntN(4)
		o := observed{conserved: rnd.IntN(8) > 0}
		var truth, moved uint64
		for range rnd.IntN(40) {
			length := uint64(16 + 8*rnd.IntN(sizes))
			o.bytes += length
			if o.minLen == 0 || length < o.minLen {
				o.minLen = length
			}
			o.maxLen = max(o.maxLen, length)
			failed := rnd.IntN(2) == 0
			unsure := rnd.IntN(3) == 0
			if failed {
				truth++
			} else {
				moved += length
			}
			if taken := failed != (unsure && rnd.IntN(2) == 0); taken {
				o.failed++
				o.failedBytes += length
				if unsure {
					o.unsureRefused++
				}
			} else if unsure {
				o.unsureReserved++
			}
		}
		before := uint64(rnd.IntN(int(moved) + 1))
		o.leastMoved, o.mostMoved = before, moved+uint64(rnd.IntN(100))
		if rnd.IntN(2) == 0 {
			o.leastMoved, o.mostMoved = moved, moved
		}
		low, high := o.bounds()
		if truth < low || truth > high {
			t.Fatalf("seed %d: %+v: between %d and %d; want %d", seed, o, low, high, truth)
		}
		if o.conserved && sizes == 1 && o.leastMoved == o.mostMoved && low != high {
			t.Fatalf("seed %d: %+v: between %d and %d although all records have one size", seed, o, low, high)
		}
	}
}

// The last call of a CPU can be between its entry and the reservation when the counts are read.
func TestACallThatIsNotOverIsNoFailure(t *testing.T) {
	const size, length = 65536, 112
	now := &positions{producer: 9 * length, consumer: 0, tickets: 10, steady: true}
	p := &ringcalls.CPU{}
	p.Last[0] = ringcalls.Call{Outcome: ringcalls.Reserved, Size: 100, Ticket: 9, ProducerPos: 9 * length}
	o := observed{bytes: 10 * length, minLen: length, maxLen: length, leastMoved: 9 * length, mostMoved: 9 * length, conserved: true}
	o.mostMoved += now.settle(p, size)
	if low, high := o.bounds(); low != 0 {
		t.Errorf("between %d and %d failed", low, high)
	}
	// If it is over, the producer has moved.
	now.producer += length
	if coming := now.settle(p, size); coming != 0 {
		t.Errorf("%d bytes to come after the call", coming)
	}
}
