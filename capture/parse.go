package capture

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
)

// Limits of a section, which bound memory.
const (
	maxInterfaces = 65536
	maxAllTypes   = 4 * maxTypes // bytes of different blocks of types
)

// begin starts a new capture: a file can hold several, one after the other.
func (c *Reader) begin(typ uint32, body []byte) error {
	if typ != blockSection {
		return ErrFormat
	}
	if len(body) < 16 || le.Uint32(body) != byteOrder || le.Uint16(body[4:]) != 1 {
		return &ForeignError{Format: "pcapng", text: ": it is a pcapng file of another byte order or version"}
	}
	if c.rings != nil {
		c.part++
		c.endPart()
	}
	c.rings, c.ring, c.types, c.parts, c.section, c.frozen = nil, 0, typeCache{}, typeParts{}, Section{}, false
	return options(body[16:], func(code uint16, value []byte) {
		switch s := &c.section; code {
		case optApplication:
			s.Application = string(value)
		case optOS:
			s.Host.Kernel = string(value)
		case optHardware:
			s.Host.Machine = string(value)
		case optHost:
			s.Host.Name = string(value)
		case optBoot:
			s.Host.BootID = string(value)
		}
	})
}

// endPart adds up the end of a capture that another one follows.
func (c *Reader) endPart() {
	switch end := c.End(); {
	case end != nil:
		c.before.Records += end.Records
		c.before.Discarded += end.Discarded
		c.before.Lost += end.Lost
	case slices.ContainsFunc(c.rings, recorded.isRing):
		c.cut++
	}
}

// isRing reports whether the interface is a ring.
func (r recorded) isRing() bool { return r.info.Type != ebpf.UnspecifiedMap }

// addRing adds the interface that body describes.
func (c *Reader) addRing(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("%w: an interface block is too short", ErrFormat)
	}
	if c.frozen {
		return nil
	}
	info := Info{Section: c.section}
	resolution := byte(6)
	err := options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == optName:
			info.Name = string(value)
		case code == optPin:
			info.Pin = string(value)
		case code == optResolution && len(value) == 1:
			resolution = value[0]
		case code == optRing && len(value) == 24:
			info.Type, info.ID = ebpf.MapType(le.Uint32(value)), ebpf.MapID(le.Uint32(value[4:]))
			info.Size, info.Start = le.Uint64(value[8:]), le.Uint64(value[16:])
		case code == optClocks && len(value) == 24:
			info.Clocks = Clocks{int64(le.Uint64(value)), int64(le.Uint64(value[8:])), int64(le.Uint64(value[16:]))}
		}
	})
	if err != nil {
		return err
	}
	c.user0 = c.user0 || le.Uint16(body) == linkUser0
	if le.Uint16(body) != linkUser0 || resolution != nanoseconds {
		info = Info{}
	}
	if len(c.rings) == maxInterfaces {
		return fmt.Errorf("%w: more than %d interfaces", ErrFormat, maxInterfaces)
	}
	c.rings = append(c.rings, recorded{info: info})
	if r := &c.rings[c.ring]; !r.isRing() {
		c.ring = len(c.rings) - 1
	}
	return nil
}

// ringOf returns the ring to which the block with this body belongs, and its index; nil if that is no ring.
func (c *Reader) ringOf(body []byte) (*recorded, int) {
	i := le.Uint32(body)
	if uint64(i) >= uint64(len(c.rings)) || !c.rings[i].isRing() {
		return nil, 0
	}
	return &c.rings[i], int(i)
}

func (c *Reader) packet(body []byte) (rec Record, found bool, err error) {
	if len(body) < packetFixed {
		return rec, false, fmt.Errorf("%w: a packet block is too short", ErrFormat)
	}
	ring, index := c.ringOf(body)
	if ring == nil {
		if c.frozen {
			c.skipped += int64(len(body) + blockOverhead)
		}
		return rec, false, nil
	}
	n, size := uint64(le.Uint32(body[12:])), uint64(le.Uint32(body[16:]))
	padded := (n + 3) &^ 3
	if padded > uint64(len(body)-packetFixed) {
		return rec, false, fmt.Errorf("%w: %d bytes of a record do not fit into a block of %d bytes", ErrFormat, n, len(body)+blockOverhead)
	}
	rec.Ring, rec.Time = index, timeOf(body[4:])
	rec.Data = body[packetFixed : packetFixed+n]
	err = options(body[packetFixed+padded:], func(code uint16, value []byte) {
		if len(value) != 8 {
			return
		}
		switch code {
		case optPosition:
			rec.Pos = le.Uint64(value)
		case optLost:
			rec.Lost = le.Uint64(value)
		}
	})
	c.ring, ring.end = index, nil // a record follows, so the ring has not ended
	if size > maxRecord {
		return rec, false, fmt.Errorf("%w: a record of %d bytes is too long", ErrFormat, size)
	}
	if err == nil && size > n {
		rec.Data, err = c.rest(rec.Data, size)
	}
	return rec, err == nil, err
}

// rest returns a record of size bytes. data is the part of the record in its packet; rest reads the other parts
// from the blocks that follow.
func (c *Reader) rest(data []byte, size uint64) ([]byte, error) {
	c.record = append(c.record[:0], data...)
	for uint64(len(c.record)) < size {
		typ, body, err := c.block()
		if err != nil {
			return nil, err
		}
		if typ != blockRest {
			c.next = &nextBlock{typ, body}
		}
		left := size - uint64(len(c.record))
		data := body[:min(uint64(len(body)), left)]
		if typ != blockRest || len(data) == 0 || len(body)-len(data) > 3 {
			return nil, fmt.Errorf("%w: only %d of %d bytes of a record are present", ErrFormat, len(c.record), size)
		}
		c.record = append(c.record, data...)
	}
	return c.record, nil
}

func (c *Reader) statistics(body []byte) error {
	if len(body) < statisticsFixed {
		return fmt.Errorf("%w: a statistics block is too short", ErrFormat)
	}
	ring, index := c.ringOf(body)
	if ring == nil {
		return nil
	}
	end := &End{Ring: index, Time: timeOf(body[4:])}
	ring.end = end
	return options(body[statisticsFixed:], func(code uint16, value []byte) {
		if len(value) != 8 {
			return
		}
		switch v := le.Uint64(value); code {
		case optReceived:
			end.Records = v
		case optEndPos:
			end.Pos = v
		case optDiscarded:
			end.Discarded = v
		case optLost:
			end.Lost = v
		}
	})
}

func timeOf(b []byte) time.Time {
	return time.Unix(0, int64(uint64(le.Uint32(b))<<32|uint64(le.Uint32(b[4:]))))
}

// options calls each for every option in b.
func options(b []byte, each func(code uint16, value []byte)) error {
	for len(b) >= 4 {
		code, n := le.Uint16(b), int(le.Uint16(b[2:]))
		if code == optEnd {
			return nil
		}
		padded := (n + 3) &^ 3
		if padded > len(b)-4 {
			return fmt.Errorf("%w: an option of %d bytes goes beyond its block", ErrFormat, n)
		}
		each(code, b[4:4+n])
		b = b[4+padded:]
	}
	return nil
}

// addTypes adds the types of a ring's records.
func (c *Reader) addTypes(body []byte) (err error) {
	if len(body) < 16 {
		return fmt.Errorf("%w: a block of types is too short", ErrFormat)
	}
	ring, index := c.ringOf(body)
	if ring == nil {
		return nil
	}
	switch version := le.Uint32(body[4:]); {
	case version == typesInParts:
		whole, err := c.parts.add(index, body[8:])
		if whole == nil || err != nil {
			return err
		}
		body = whole
	case version > typesVersion:
		return nil // a later version of rbtool wrote these types; records are readable without them
	default:
		body = body[8:]
	}
	ring.info.Types, err = c.types.set(body)
	return err
}

// typeParts has the first parts of the types of a ring.
type typeParts struct {
	ring int
	all  uint32
	data []byte
}

// add adds a part: the length of all, where the part begins, and its bytes. It returns the whole when it has all of it.
func (p *typeParts) add(ring int, part []byte) (whole []byte, err error) {
	all, from, data := le.Uint32(part), le.Uint32(part[4:]), part[8:]
	if from == 0 {
		*p = typeParts{ring: ring, all: all}
	}
	if p.ring != ring || p.all != all || uint64(from) != uint64(len(p.data)) || all > maxTypes || len(data) > int(all-from) {
		return nil, fmt.Errorf("%w: the parts of types do not fit", ErrFormat)
	}
	if p.data = append(p.data, data...); len(p.data) < int(all) {
		return nil, nil
	}
	whole, p.data = p.data, nil
	return whole, nil
}

// typeCache has the types of a section: the rings of all CPUs have equal ones.
type typeCache struct {
	sets  map[[sha256.Size]byte]*decode.Set
	bytes int
}

// set returns the types in body.
func (t *typeCache) set(body []byte) (*decode.Set, error) {
	key := sha256.Sum256(body)
	if set := t.sets[key]; set != nil {
		return set, nil
	}
	if t.bytes += len(body); t.bytes > maxAllTypes {
		return nil, fmt.Errorf("%w: types of more than %d bytes", ErrFormat, maxAllTypes)
	}
	set, err := decode.UnmarshalSet(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if t.sets == nil {
		t.sets = map[[sha256.Size]byte]*decode.Set{}
	}
	t.sets[key] = set
	return set, nil
}
