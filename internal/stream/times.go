package stream

import (
	"strings"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
)

// ByTime stands for the field that has the time of a record, see [NewTimes].
const ByTime = "time"

// Times reads the time of records, or another number in them.
type Times struct {
	field string
	host  decode.Host
	rings []*timesOfRing // by consumer.Record.Ring
	last  uint64         // the greatest key so far
}

// timesOfRing are the types of a ring with the fields to read.
type timesOfRing struct {
	types  *decode.Set
	fields map[*decode.Codec]*decode.Number
}

// NewTimes returns Times for the field of this name. [ByTime] is the first field that is known to be a time, or else the
// first one whose name says so. host tells the times of clocks.
func NewTimes(field string, host decode.Host) *Times { return &Times{field: field, host: host} }

// Set says which types the records of a ring have; types may be nil. It reports whether one of them has the field.
func (t *Times) Set(ring int, types *decode.Set) (has bool) {
	for ring >= len(t.rings) {
		t.rings = append(t.rings, nil)
	}
	t.rings[ring] = nil
	if types == nil {
		return false
	}
	r := &timesOfRing{types, map[*decode.Codec]*decode.Number{}}
	for _, c := range types.Codecs() {
		field := t.field
		if field == ByTime {
			field = timeField(c)
		}
		if n, ok := c.Number(field); ok {
			r.fields[c] = n
		}
	}
	if len(r.fields) > 0 {
		t.rings[ring] = r
	}
	return len(r.fields) > 0
}

// timeField returns the name of the field with the time of a record, or "".
func timeField(c *decode.Codec) (found string) {
	for _, f := range c.Fields() {
		name := strings.Join(f.Path, ".")
		switch {
		case !f.Meaning.IsTime():
		case f.Meaning != decode.Timestamp:
			return name
		case found == "":
			found = name
		}
	}
	return found
}

// load returns the number in a record.
func (t *Times) load(rec consumer.Record) (n *decode.Number, v uint64, ok bool) {
	r := t.rings[rec.Ring]
	if r == nil {
		return nil, 0, false
	}
	c, err := r.types.Codec(rec.Data)
	if err != nil || r.fields[c] == nil {
		return nil, 0, false
	}
	n = r.fields[c]
	v, ok = n.Load(rec.Data)
	return n, v, ok
}

// Wall returns the time of a record in nanoseconds since 1970. It returns false if the record or the host does not tell it.
func (t *Times) Wall(rec consumer.Record) (wall int64, ok bool) {
	n, v, ok := t.load(rec)
	if !ok || v == 0 || !n.Meaning().IsTime() || t.host.Time == nil {
		return 0, false
	}
	return t.host.Time(n.Meaning(), v)
}

// Key returns a number by which records are in order. A record without the field comes after those before it.
func (t *Times) Key(rec consumer.Record) uint64 {
	if t.field == ByTime {
		if wall, ok := t.Wall(rec); ok {
			return t.seen(uint64(wall))
		}
		return t.last
	}
	n, v, ok := t.load(rec)
	if !ok {
		return t.last
	}
	if n.Signed() {
		v ^= 1 << 63 // so that negative numbers come first
	}
	return t.seen(v)
}

func (t *Times) seen(key uint64) uint64 {
	t.last = max(t.last, key)
	return key
}
