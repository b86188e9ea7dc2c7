package drops

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/rbtool/rbtool/internal/ring"
)

// Shape measures how much of their space the records of a ring use: a program that reserves the largest record that it may
// need, and fills a part, leaves the rest as it was. That rest is zero in a ring that has not wrapped around yet, or if
// the program clears it; later it is what an earlier record left there.
//
// Trailing zeros count as unused. So do trailing bytes that have not changed since the previous lap of the ring, if they
// contain the header of an earlier record, which no program writes. Other unused bytes cannot be recognised, so the
// figures are lower bounds.
//
// One goroutine at a time may use a Shape.
type Shape struct {
	size    uint64
	lap     []byte   // the ring as it was last seen, without headers; nil if the ring is too large
	headers []uint64 // a bit for each 8 bytes of the ring: the header of a record that was seen begins there
	tails   map[uint32]*Tail
}

const (
	maxLap   = 64 << 20 // bytes of a ring whose last lap a Shape keeps
	maxTails = 1 << 10  // lengths of records that a Shape tells apart
)

// NewShape returns a Shape for a ring of size bytes, a power of two. It keeps a copy of a ring of up to 64 MiB.
func NewShape(size uint64) *Shape {
	s := &Shape{size: size, tails: map[uint32]*Tail{}}
	if size <= maxLap {
		s.lap, s.headers = make([]byte, size), make([]uint64, (size/8+63)/64)
	}
	return s
}

// Tail describes the records of one length.
type Tail struct {
	Len     uint32 // bytes of a record, without its header
	Records uint64
	Unused  uint64 // bytes at the ends of all these records that are zero or left over
	Least   uint32 // the smallest number of such bytes in one record
	Stale   uint64 // records with bytes that are left over
}

// Reserved returns the bytes that the records took in the ring, with headers and padding.
func (t *Tail) Reserved() uint64 { return t.Records * ring.Span(t.Len) }

// Used returns the bytes that the records would have taken if each had been as long as needed.
func (t *Tail) Used() uint64 {
	if t.Records == 0 {
		return 0
	}
	used := uint64(t.Len) - t.Unused/t.Records
	return t.Records * ring.Span(uint32(used))
}

// Gain returns how many times as many records a ring would hold if each were as long as needed.
func (t *Tail) Gain() float64 {
	if t.Records == 0 {
		return 1
	}
	return float64(t.Reserved()) / float64(t.Used())
}

// Add adds a record: its position, a multiple of 8, and its data. It ignores what cannot be a record of the ring.
func (s *Shape) Add(pos uint64, data []byte) {
	if pos%8 != 0 || uint64(len(data))+ring.HeaderSize > s.size {
		return
	}
	unused := len(data) - len(bytes.TrimRight(data, "\x00"))
	left := 0
	if s.lap != nil {
		if left = s.leftover(pos, data); left > unused {
			unused = left
		}
		s.keep(pos, data)
	}
	t := s.tails[uint32(len(data))]
	if t == nil {
		if len(s.tails) == maxTails {
			return
		}
		t = &Tail{Len: uint32(len(data)), Least: uint32(len(data))}
		s.tails[t.Len] = t
	}
	t.Records++
	t.Unused += uint64(unused)
	t.Least = min(t.Least, uint32(unused))
	if left > 0 {
		t.Stale++
	}
}

// Tails returns what was seen of the records of each length, those that waste most first.
func (s *Shape) Tails() []Tail {
	var tails []Tail
	for _, t := range s.tails {
		tails = append(tails, *t)
	}
	slices.SortFunc(tails, func(a, b Tail) int {
		return cmp.Or(cmp.Compare(b.Reserved()-b.Used(), a.Reserved()-a.Used()), cmp.Compare(a.Len, b.Len))
	})
	return tails
}

// Sum returns the sum of all lengths: bytes reserved, and bytes that records as long as needed would take.
func (s *Shape) Sum() (reserved, used uint64) {
	for t := range maps.Values(s.tails) {
		reserved += t.Reserved()
		used += t.Used()
	}
	return reserved, used
}

// leftover returns how many bytes at the end of a record are as they were one lap before, if the header of an earlier record is
// among them; otherwise 0.
func (s *Shape) leftover(pos uint64, data []byte) int {
	same, header := 0, false // bytes at the end that are as they were
	for end := len(data); end > 0; {
		begin := (end - 1) &^ 7
		word := data[begin:end]
		at := s.index(pos, begin)
		switch {
		case s.hasHeader(at):
			// The rest of a header is the offset of a page, which lap does not have.
			if n := min(4, len(word)); !bytes.Equal(word[:n], s.lap[at:at+uint64(n)]) {
				return found(same, header)
			}
			header = true
		case !bytes.Equal(word, s.lap[at:at+uint64(len(word))]):
			was := s.lap[at : at+uint64(len(word))]
			for i := len(word) - 1; word[i] == was[i]; i-- {
				same++
			}
			return found(same, header)
		}
		same += len(word)
		end = begin
	}
	return found(same, header)
}

func found(same int, header bool) int {
	if header {
		return same
	}
	return 0
}

// keep copies a record to the lap.
func (s *Shape) keep(pos uint64, data []byte) {
	head := pos & (s.size - 1)
	for at := uint64(0); at < ring.Span(uint32(len(data))); at += 8 {
		i := (head + at) & (s.size - 1) / 8
		s.headers[i/64] &^= 1 << (i % 64)
	}
	s.headers[head/8/64] |= 1 << (head / 8 % 64)
	binary.NativeEndian.PutUint32(s.lap[head:], uint32(len(data)))
	n := copy(s.lap[s.index(pos, 0):], data)
	copy(s.lap, data[n:])
}

// index returns where a byte of the record at pos lies in the lap.
func (s *Shape) index(pos uint64, offset int) uint64 {
	return (pos + ring.HeaderSize + uint64(offset)) & (s.size - 1)
}

func (s *Shape) hasHeader(at uint64) bool { return s.headers[at/8/64]>>(at/8%64)&1 != 0 }
