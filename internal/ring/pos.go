package ring

// Pos is a position in a ring: the number of bytes from the creation of the ring. Positions only
// grow and wrap around at 2^64, so < and > do not order them. The methods order positions that are
// less than 2^63 bytes apart. Two positions that are exactly 2^63 apart, which a hostile process
// may write, are not ordered: each of Before and NotAfter is false both ways.
type Pos uint64

// Before reports whether p is less than q.
func (p Pos) Before(q Pos) bool { return int64(q-p) > 0 }

// NotAfter reports whether p is at most q.
func (p Pos) NotAfter(q Pos) bool { return int64(q-p) >= 0 }

// Aligned reports whether p is a multiple of 8, as is the position of every header.
func (p Pos) Aligned() bool { return p%8 == 0 }

// To returns the number of bytes from p to q, or 0 if q is before p.
func (p Pos) To(q Pos) uint64 { return uint64(max(int64(q-p), 0)) }

// Next returns the end of a record of n payload bytes at p.
func (p Pos) Next(n uint32) Pos { return p + Pos(Span(n)) }

// Later returns the greater of two positions.
func Later(p, q Pos) Pos {
	if p.Before(q) {
		return q
	}
	return p
}

// Earlier returns the lesser of two positions.
func Earlier(p, q Pos) Pos {
	if p.Before(q) {
		return p
	}
	return q
}
