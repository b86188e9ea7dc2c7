package ring

import (
	"math"
	"testing"
)

func TestPosOrder(t *testing.T) {
	tests := []struct {
		rule   string
		p, q   Pos
		before bool
		to     uint64 // 0 if p is not before q
	}{
		{"a lesser position is before a greater", 8, 16, true, 8},
		{"a greater position is not", 16, 8, false, 0},
		{"a position is not before itself", 8, 8, false, 0},
		{"a position is before one past the wrap", math.MaxUint64 - 7, 8, true, 16},
		{"a position past the wrap is not", 8, math.MaxUint64 - 7, false, 0},
		{"order holds over half the range", 0, 1<<63 - 8, true, 1<<63 - 8},
		{"half the range apart, a position is not before another", 0, 1 << 63, false, 0},
		{"nor that before it", 1 << 63, 0, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if got := tt.p.Before(tt.q); got != tt.before {
				t.Errorf("Before: %t", got)
			}
			if got, want := tt.p.NotAfter(tt.q), tt.before || tt.p == tt.q; got != want {
				t.Errorf("NotAfter: %t", got)
			}
			if got := tt.p.To(tt.q); got != tt.to {
				t.Errorf("To: %d, want %d", got, tt.to)
			}
			if tt.p-tt.q == 1<<63 {
				return // neither is later
			}
			early, late := tt.q, tt.p
			if tt.before {
				early, late = tt.p, tt.q
			}
			if e, l := Earlier(tt.p, tt.q), Later(tt.p, tt.q); e != early || l != late {
				t.Errorf("Earlier %d, Later %d, want %d and %d", e, l, early, late)
			}
		})
	}
}
