package consumer

import (
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A record whose payload imitates headers lies between two records of 8 bytes. oldestRecord must
// not take a part of that payload for a record.
func TestPayloadsThatImitateRecords(t *testing.T) {
	const page = 3 // the page where the data begins, RINGBUF_NR_META_PAGES
	size := uint64(testenv.PageSize)
	for _, tt := range []struct {
		rule    string
		payload []ring.Tagged // words of the record in the middle
		want    ring.Pos
	}{
		{"no header", []ring.Tagged{1, 2}, 0},
		{"a header of another page", []ring.Tagged{ring.Tag(8, page+1), 0}, 0},
		{"a record that ends where the next one begins", []ring.Tagged{ring.Tag(8, page), 0}, 40},
		{"one that ends with the last", []ring.Tagged{0, ring.Tag(16, page)}, 56},
		{"one that ends in the middle of the next", []ring.Tagged{ring.Tag(16, page), 0}, 0},
		{"one that is longer than the ring", []ring.Tagged{ring.Tag(1<<30-1, page), 0}, 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			m := newMemory(t, size)
			mem, err := ring.Consume(m.FD, size)
			if err != nil {
				t.Fatal(err)
			}
			defer mem.Unmap()
			words := []ring.Tagged{ring.Tag(8, page), 0, ring.Tag(16, page)}
			words = append(words, tt.payload...)
			words = append(words, ring.Tag(8, page), 0)
			for i, w := range words {
				*m.Word(uint64(8 * i)) = uint64(w)
			}
			prod := ring.Pos(8 * len(words))
			if got := oldestRecord(mem, prod-ring.Pos(size), prod); got != tt.want {
				t.Errorf("the oldest record is at %d, want %d", got, tt.want)
			}
		})
	}
}
