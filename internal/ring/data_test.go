package ring

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
)

// numbered stores in each word of b the offset of the word.
func numbered(b []byte) {
	for i := 0; i < len(b); i += 8 {
		binary.NativeEndian.PutUint64(b[i:], uint64(i))
	}
}

func TestDataOfMapping(t *testing.T) {
	page := uint64(os.Getpagesize())
	mem := testenv.NewMemory(t, page)
	numbered(mem.Data())
	m, err := Consume(mem.FD, page)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, m)
	if !m.Acquire() {
		t.Fatal("a new mapping cannot be acquired")
	}
	defer m.Release()

	tests := []struct {
		rule   string
		pos    Pos
		offset uint64 // offset in the data pages at which pos lies
	}{
		{"the first position lies at the start", 0, 0},
		{"positions go on", 24, 24},
		{"the ring's size is its start again", Pos(page), 0},
		{"only the low bits count", 7*Pos(page) + 16, 16},
		{"positions wrap around 2^64", ^Pos(7), page - 8},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			d := m.Data()
			if got := uint64(d.Header(tt.pos)); got != tt.offset {
				t.Errorf("Header(%d) is the word at %d, want %d", tt.pos, got, tt.offset)
			}
			want := mem.Data()[tt.offset:]
			if diff := cmp.Diff(want[HeaderSize:HeaderSize+100], d.Payload(tt.pos, 100)); diff != "" {
				t.Errorf("Payload(%d) (-want +got):\n%s", tt.pos, diff)
			}
			got := make([]byte, page)
			d.Read(got, tt.pos)
			if !bytes.Equal(got, want[:page]) {
				t.Errorf("Read from %d: not the ring's bytes from %d on", tt.pos, tt.offset)
			}
			d.Window(tt.pos).Touch(0) // must not fault
		})
	}
	t.Run("a record as long as the ring ends inside the mapping", func(t *testing.T) {
		p := m.Data().Payload(Pos(page-8), uint32(page-HeaderSize))
		if got := binary.NativeEndian.Uint64(p[len(p)-8:]); got != 2*page-16 {
			t.Errorf("the last word is the one at %d, want %d", got, 2*page-16)
		}
	})
}

func TestDataOfCopy(t *testing.T) {
	const n = 64
	buf := make([]byte, n, n+CopySlack)
	numbered(buf)
	for _, origin := range []Pos{0, 4096, 1<<64 - 32} {
		d := Copy(buf, origin)
		for offset := uint64(0); offset < n; offset += 8 {
			if got := uint64(d.Header(origin + Pos(offset))); got != offset {
				t.Errorf("copy from %d: Header of %d bytes on is the word at %d", origin, offset, got)
			}
		}
		d.Window(origin).Touch(n) // within the slack
	}
}
