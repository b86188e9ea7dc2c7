package drops

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
)

// memory is a ring of programs that write as those of the kernel do: they fill a part of each record.
type memory struct {
	*Shape
	data []byte
	pos  uint64
	rand *rand.Rand
}

func newMemory(size uint64) *memory {
	return &memory{Shape: NewShape(size), data: make([]byte, size), rand: rand.New(rand.NewPCG(1, 2))}
}

// write adds a record of n bytes, of which it writes the first used. With clear it zeroes the others.
func (m *memory) write(n, used int, clear bool) {
	at := func(i int) *byte { return &m.data[(m.pos+uint64(i))%m.size] }
	for i, b := range binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, uint32(n)), 0xabcd) {
		*at(i) = b
	}
	for i := range used {
		*at(ring.HeaderSize + i) = byte(1 + m.rand.UintN(255))
	}
	data := make([]byte, n)
	for i := range data {
		if clear && i >= used {
			*at(ring.HeaderSize + i) = 0
		}
		data[i] = *at(ring.HeaderSize + i)
	}
	m.Add(m.pos, data)
	m.pos += ring.Span(uint32(n))
}

func TestZeroTails(t *testing.T) {
	m := newMemory(1 << 16)
	for range 1000 {
		m.write(2048, 168, true)
	}
	tails := m.Tails()
	if len(tails) != 1 || tails[0].Least != 1880 || tails[0].Unused != 1880*1000 || tails[0].Stale != 0 {
		t.Fatalf("%+v", tails)
	}
	if got, want := tails[0].Gain(), 2056.0/176; got != want {
		t.Errorf("a ring would hold %v times as many records, want %v", got, want)
	}
	reserved, used := m.Sum()
	if reserved != 2056*1000 || used != 176*1000 {
		t.Errorf("%d bytes are used of %d", used, reserved)
	}
}

func TestTailsThatAreLeftOver(t *testing.T) {
	m := newMemory(1 << 16)
	const records, laps = 1000, 1000 * 2056 >> 16
	for i := range records {
		m.write(2048, 24+i%2*144, false) // 24 or 168 bytes
	}
	got := m.Tails()[0]
	unused := uint64(records / 2 * (2024 + 1880))
	if got.Unused > unused+records/10 { // a byte can be as it was by chance
		t.Errorf("%d bytes are unused, of which %d were written", got.Unused, got.Unused-unused)
	}
	// Nearly all of the tails have the header of an earlier record in them.
	if got.Unused < unused*85/100 || got.Stale < records*85/100 {
		t.Errorf("%+v, of %d bytes that are not written, in %d laps", got, unused, laps)
	}
}

func TestRecordsThatUseAllOfTheirSpace(t *testing.T) {
	for _, same := range []bool{false, true} {
		m := newMemory(4096)
		for range 1000 {
			if same {
				m.rand = rand.New(rand.NewPCG(1, 2)) // records are all alike, and where they were one lap before
			}
			m.write(56, 56, false)
		}
		if got := m.Tails()[0]; got.Unused != 0 || got.Gain() != 1 {
			t.Errorf("alike: %v: %+v", same, got)
		}
	}
}

func TestLengthsAreToldApart(t *testing.T) {
	m := newMemory(1 << 14)
	for range 100 {
		m.write(16, 16, true)
		m.write(100, 10, true)
		m.write(500, 10, true)
		m.write(0, 0, true)
	}
	var lens []uint32
	for _, tail := range m.Tails() {
		lens = append(lens, tail.Len)
	}
	if want := []uint32{500, 100, 0, 16}; len(lens) != 4 || lens[0] != want[0] || lens[1] != want[1] || lens[2] != want[2] || lens[3] != want[3] {
		t.Errorf("%d, want %d: what wastes most comes first", lens, want)
	}
	m.Add(4, make([]byte, 8))       // no record begins there
	m.Add(0, make([]byte, 1<<14))   // no record is as large as the ring
	m.Add(8, make([]byte, 1<<14-8)) // this is the largest
	if got := len(m.Tails()); got != 5 {
		t.Errorf("%d lengths", got)
	}
}

// FuzzShape checks that no records lead to impossible figures.
func FuzzShape(f *testing.F) {
	f.Add(uint64(4088), []byte("abc\x00"), uint64(8), bytes.Repeat([]byte{3, 0}, 100))
	f.Fuzz(func(t *testing.T, pos uint64, first []byte, step uint64, second []byte) {
		s := NewShape(4096)
		for range 4 {
			s.Add(pos, first)
			s.Add(pos+step, second)
			pos += 4096 - 16
		}
		for _, tail := range s.Tails() {
			if tail.Used() > tail.Reserved() || tail.Unused > tail.Records*uint64(tail.Len) || tail.Least > tail.Len || tail.Gain() < 1 {
				t.Fatalf("impossible: %+v", tail)
			}
		}
	})
}
