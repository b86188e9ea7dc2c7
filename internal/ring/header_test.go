package ring

import (
	"math"
	"testing"
)

func TestHeader(t *testing.T) {
	tests := []struct {
		rule            string
		header          Header
		busy, discarded bool
		length          uint32
		kernel, user    State
	}{
		{"a plain length is a committed record", 24, false, false, 24, Committed, Committed},
		{"zero is a committed record without payload", 0, false, false, 0, Committed, Committed},
		{"bit 31 is BUSY and not part of the length", 24 | BusyBit, true, false, 24, Busy, Busy},
		{"bit 30 is DISCARD and not part of the length", 24 | DiscardBit, false, true, 24, Discarded, Discarded},
		{"both bits can be set", 24 | BusyBit | DiscardBit, true, true, 24, Busy, Discarded},
		{"the largest length has 30 bits", math.MaxUint32, true, true, 1<<30 - 1, Busy, Discarded},
		{"the largest committed length", 1<<30 - 1, false, false, 1<<30 - 1, Committed, Committed},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			h := tt.header
			if h.Busy() != tt.busy || h.Discarded() != tt.discarded || h.Len() != tt.length {
				t.Errorf("header %#x: busy %t, discarded %t, length %d; want %t, %t, %d",
					uint32(h), h.Busy(), h.Discarded(), h.Len(), tt.busy, tt.discarded, tt.length)
			}
			if k, u := h.State(Kernel), h.State(User); k != tt.kernel || u != tt.user {
				t.Errorf("header %#x: state %d in a RINGBUF, %d in a USER_RINGBUF; want %d, %d", uint32(h), k, u, tt.kernel, tt.user)
			}
		})
	}
}

func TestSpan(t *testing.T) {
	tests := []struct {
		rule   string
		length uint32
		span   uint64
	}{
		{"an empty record is a header", 0, 8},
		{"a record is padded to 8 bytes", 1, 16},
		{"a multiple of 8 needs no padding", 8, 16},
		{"one byte more takes 8 more", 9, 24},
		{"the largest record of the kernel, UINT_MAX/4", math.MaxUint32 / 4, 1<<30 + 8},
		{"no length overflows", math.MaxUint32, 1<<32 + 8},
		{"a header with a flag bit taken for a length is longer than any eighth of a ring", 0 | DiscardBit, 1<<30 + 8},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if got := Span(tt.length); got != tt.span {
				t.Errorf("Span(%d) = %d, want %d", tt.length, got, tt.span)
			}
		})
	}
}
