package decode

import (
	"errors"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// Tag is a condition on a record: that the unsigned integer of Size bytes at byte Off is one of Values. Size is
// 1, 2, 4 or 8. A record that ends before the integer does not fulfil it.
type Tag struct {
	Off, Size int
	Values    []uint64
}

// Case is a type and the conditions for its records: all of Tags, at least Min bytes, and at most Max, if that is
// not 0.
type Case struct {
	Type     btf.Type // nil for records known to have no known type
	Options  Options
	Tags     []Tag
	Min, Max int
}

var (
	errTag   = errors.New("tag is outside of all records or not of 1, 2, 4 or 8 bytes")
	errCases = errors.New("too many cases or tags")
)

// Limits of a Set: each case is compared with each other.
const (
	maxCases  = 1 << 9
	maxValues = 1 << 12 // values of all tags
)

// spot is where the tag of a record is; the zero spot stands for the length of the record.
type spot struct{ off, size int }

// nowhere is the spot of no tag.
var nowhere = spot{off: -1}

// load returns the tag of record, and false if record ends before it.
func (p spot) load(record []byte) (uint64, bool) {
	if p == (spot{}) {
		return uint64(len(record)), true
	}
	if len(record) < p.off+p.size {
		return 0, false
	}
	o := op{off: p.off, size: uint8(p.size), width: uint8(p.size * 8)}
	return o.load(record), true
}

// branch is a compiled case.
type branch struct {
	codec    *Codec      // nil if the case has no type
	tags     []condition // at most one per spot
	min, max int
	rank     int       // more specific branches come first
	rivals   []*branch // branches of other types that are not less specific, and can have records of this one
}

// condition is that the tag at a spot is one of values, which are sorted.
type condition struct {
	at     spot
	values []uint64
}

func (c *condition) has(v uint64) bool {
	if len(c.values) == 1 {
		return c.values[0] == v
	}
	_, ok := slices.BinarySearch(c.values, v)
	return ok
}

func newBranch(c *Case, codec *Codec) (*branch, error) {
	b := &branch{codec: codec, min: max(c.Min, 0), max: c.Max}
	if b.max <= 0 || b.max > maxSize {
		b.max = maxSize
	}
	for _, t := range c.Tags {
		tag, err := t.compile()
		if err != nil {
			return nil, err
		}
		if known := b.tag(tag.at); known != nil {
			known.values = slices.DeleteFunc(known.values, func(v uint64) bool { return !tag.has(v) })
			continue
		}
		b.tags = append(b.tags, tag)
		b.min = max(b.min, t.Off+t.Size)
	}
	return b, nil
}

func (t *Tag) compile() (condition, error) {
	if t.Off < 0 || t.Off > maxSize || t.Size < 0 || t.Size > 8 || !isPowerOf2UpTo8(uint32(t.Size)) {
		return condition{}, errTag
	}
	values := make([]uint64, len(t.Values))
	for i, v := range t.Values {
		values[i] = lowBits(v, uint8(t.Size*8))
	}
	slices.Sort(values)
	return condition{spot{t.Off, t.Size}, slices.Compact(values)}, nil
}

// tag returns the condition of b at a spot, or nil.
func (b *branch) tag(at spot) *condition {
	for i := range b.tags {
		if b.tags[i].at == at {
			return &b.tags[i]
		}
	}
	return nil
}

// free reports whether all records fit b.
func (b *branch) free() bool { return b.min == 0 && b.max == maxSize && len(b.tags) == 0 }

// keys returns the tags of b, and its length, if that is fixed, as the tag of the zero spot.
func (b *branch) keys() []condition {
	if b.min == b.max {
		return append(slices.Clip(b.tags), condition{values: []uint64{uint64(b.min)}})
	}
	return b.tags
}

// fits reports whether record fulfils the conditions of b, apart from the one at the spot known.
func (b *branch) fits(record []byte, known spot) bool {
	if len(record) < b.min || len(record) > b.max {
		return false
	}
	for i := range b.tags {
		c := &b.tags[i]
		if c.at == known {
			continue
		}
		if v, ok := c.at.load(record); !ok || !c.has(v) {
			return false
		}
	}
	return true
}

// within reports whether all records that fit b fit c.
func (b *branch) within(c *branch) bool {
	if b.min < c.min || b.max > c.max {
		return false
	}
	for i := range c.tags {
		theirs := &c.tags[i]
		mine := b.tag(theirs.at)
		if mine == nil || slices.ContainsFunc(mine.values, func(v uint64) bool { return !theirs.has(v) }) {
			return false
		}
	}
	return true
}

// apart reports whether no record fits both b and c. It may miss that.
func (b *branch) apart(c *branch) bool {
	if b.min > c.max || c.min > b.max {
		return true
	}
	for i := range c.tags {
		theirs := &c.tags[i]
		if mine := b.tag(theirs.at); mine != nil && !slices.ContainsFunc(mine.values, theirs.has) {
			return true
		}
	}
	return false
}

// order compares branches so that one within another comes first.
func order(b, c *branch) int {
	if n := len(c.tags) - len(b.tags); n != 0 {
		return n
	}
	if n := (b.max - b.min) - (c.max - c.min); n != 0 {
		return n
	}
	return b.values() - c.values()
}

// values returns how many values the tags of b have.
func (b *branch) values() (n int) {
	for i := range b.tags {
		n += len(b.tags[i].values)
	}
	return n
}

// rank sorts branches and sets their ranks and rivals.
func rank(branches []*branch) {
	slices.SortStableFunc(branches, order)
	for i, b := range branches {
		b.rank = i
		for _, c := range branches {
			if b.codec != c.codec && !b.apart(c) && (!b.within(c) || c.within(b)) {
				b.rivals = append(b.rivals, c)
			}
		}
	}
}
