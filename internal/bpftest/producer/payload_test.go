package producer

import (
	"bytes"
	"testing"
)

func TestVerifyAcceptsFill(t *testing.T) {
	for _, size := range sizes {
		for _, seq := range []uint64{0, 1, 4095, 4096, 1<<64 - 1} {
			rec := make([]byte, size)
			Fill(seq, rec)
			if err := Verify(seq, rec); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestVerifySeesEveryBit(t *testing.T) {
	rec := make([]byte, 50)
	Fill(77, rec)
	for bit := range len(rec) * 8 {
		rec[bit/8] ^= 1 << (bit % 8)
		if Verify(77, rec) == nil {
			t.Errorf("bit %d flipped: no error", bit)
		}
		rec[bit/8] ^= 1 << (bit % 8)
	}
}

func TestVerifyRefusesTooMuch(t *testing.T) {
	if Verify(0, make([]byte, MaxRecord+1)) == nil {
		t.Error("no error")
	}
}

// Verify detects a torn copy: the start of one record with the rest of another.
func TestNeighboursDifferAfterTheHead(t *testing.T) {
	a, b := make([]byte, 16), make([]byte, 16)
	for seq := range uint64(2 * shifts) {
		Fill(seq, a)
		Fill(seq+1, b)
		if bytes.Equal(a[8:], b[8:]) {
			t.Errorf("records %d and %d have the same tail", seq, seq+1)
		}
	}
}
