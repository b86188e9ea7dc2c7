package recordflow

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// bytewise is a frame that knows for each byte what can have written it.
type bytewise [maxStack]map[int32]bool

func (b *bytewise) write(lo, hi int64, def int32, only bool) {
	for off := lo; off < hi; off++ {
		if i := off + maxStack; i >= 0 && i < maxStack {
			if only || b[i] == nil {
				was := b[i]
				b[i] = map[int32]bool{def: true}
				if !only {
					for d := range was {
						b[i][d] = true
					}
				}
			} else {
				b[i][def] = true
			}
		}
	}
}

// A frame knows the same writers of each byte as one that knows each byte by itself.
func TestFrames(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		sets := defSets{ids: map[string]defSet{}, unions: map[[2]defSet]defSet{}}
		a := &analysis{defs: sets}
		var frames [2]*frame
		var models [2]bytewise
		for n := range frames {
			frames[n] = &frame{low: -maxStack}
			for range r.IntN(12) {
				def := r.Int32N(20)
				lo := -r.Int64N(64) - 1
				hi := lo + r.Int64N(24)
				only := r.IntN(3) > 0
				if only {
					frames[n].write(lo, hi, constant(5), def)
				} else {
					frames[n].may(lo, hi, def, &a.defs)
				}
				models[n].write(lo, hi, def, only)
			}
		}
		joined := a.joinFrames(frames[0], frames[1], false)
		for off := int64(-80); off < 0; off++ {
			for n, f := range frames {
				want := sorted(models[n][off+maxStack])
				if got := f.defs(off, off+1, &a.defs); !slices.Equal(got, want) {
					t.Fatalf("%d: %v, want %v: %+v", off, got, want, f.slots)
				}
			}
			both := sorted(models[0][off+maxStack], models[1][off+maxStack])
			if got := joined.defs(off, off+1, &a.defs); !slices.Equal(got, both) {
				t.Fatalf("%d: %v joined, want %v: %+v", off, got, both, joined.slots)
			}
		}
		if again := a.joinFrames(joined, frames[1], false); again != joined {
			t.Fatalf("%+v changes when it is joined again: %+v", joined, again)
		}
	}
}

func sorted(sets ...map[int32]bool) (all []int32) {
	for _, s := range sets {
		for def := range s {
			all = append(all, def)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestValuesOnTheStack(t *testing.T) {
	f := &frame{low: -maxStack}
	f.write(-16, -8, constant(0x1122334455667788), 1)
	f.write(-8, -4, constant(1), 2)
	f.write(-4, 0, constant(2), 3)
	tests := []struct {
		rule      string
		off, size int64
		want      value
	}{
		{"all of a slot", -16, 8, constant(0x1122334455667788)},
		{"a part of a slot", -14, 2, constant(0x5566)},
		{"two slots", -8, 8, constant(2<<32 | 1)},
		{"parts of two slots", -10, 4, value{}},
		{"beyond the frame", -4, 8, value{}},
		{"nothing", -32, 8, value{}},
	}
	for _, tt := range tests {
		if got := f.read(tt.off, tt.size); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.rule, got, tt.want)
		}
	}
	f.forget(-8)
	if got := f.read(-8, 4); got != (value{}) {
		t.Errorf("%+v is known of what was forgotten", got)
	}
}

func TestFrameWithTooManySlots(t *testing.T) {
	f := &frame{high: maxMemory}
	for i := range int64(maxSlots + 1) {
		f.write(2*i, 2*i+1, constant(1), 1)
	}
	if !f.lost || len(f.slots) > 0 {
		t.Errorf("%d slots, lost: %v", len(f.slots), f.lost)
	}
	a := &analysis{}
	if j := a.joinFrames(&frame{high: maxMemory}, f, false); !j.lost {
		t.Error("joined with a frame of which nothing is known, all is known")
	}
}
