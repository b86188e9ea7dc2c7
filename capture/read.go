package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/decode"
)

var (
	// ErrFormat reports a file that is not a capture, or that does not follow the format.
	ErrFormat = errors.New("not a capture of rbtool")

	// ErrUnfinished reports a capture without an end: its recorder was killed, or the file is
	// truncated. All records before the error are complete.
	ErrUnfinished = errors.New("the capture was not finished")
)

// Reader reads a capture. It is a [consumer.Source]. Only one goroutine at a time can use it; any goroutine can
// call Close at any time.
type Reader struct {
	r      io.Reader
	info   Info
	rings  []bool // for each interface of the section, whether it is a ring
	end    *End
	last   Record
	unread bool  // the caller has not read last yet
	err    error // follows last; final
	closed atomic.Bool
	body   bytes.Buffer
	record []byte // buffer of a record that has several blocks
}

// NewReader returns a Reader of r, which should be buffered. It reads r up to the first record, or to the end
// if there are no records. The caller still owns r, and closes it after the last use of the Reader. The error
// matches [ErrFormat] if r is not a capture, or is the error of reading r.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{r: r}
	typ, body, err := c.block()
	if err == nil && typ != blockSection {
		err = ErrFormat
	}
	if err == nil {
		err = c.section(body)
	}
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", asFormat(err))
	}
	_, err = c.Next()
	switch {
	case err == nil:
		c.unread = true
	case err != io.EOF && !errors.Is(err, ErrUnfinished):
		return nil, err
	case !slices.Contains(c.rings, true):
		return nil, fmt.Errorf("read capture: %w: it has no recorded ring", ErrFormat)
	}
	return c, nil
}

// asFormat turns ErrUnfinished into ErrFormat, for a file that is too short to be a capture.
func asFormat(err error) error {
	if errors.Is(err, ErrUnfinished) {
		return ErrFormat
	}
	return err
}

// Info returns the description of the ring to which the last record belongs. It changes when the Reader reaches
// another capture in the same file.
func (c *Reader) Info() Info { return c.info }

// End returns the end of the capture, or nil before the Reader reaches the end and for an unfinished capture. Of
// several captures in a file it returns the end of the last one.
func (c *Reader) End() *End { return c.end }

// Next returns the next record, whose Data is valid until the next call of Next or Pass. At the end of the file
// it returns [io.EOF] itself, or an error matching [ErrUnfinished] if the capture has no end. Other errors are
// those of reading the file, and match [ErrFormat] if the file does not follow the format. Errors are final.
func (c *Reader) Next() (Record, error) {
	if c.unread {
		c.unread = false
		return c.last, nil
	}
	if c.err == nil {
		c.last, c.err = c.read()
	}
	return c.last, c.err
}

// read returns the next record of the file.
func (c *Reader) read() (Record, error) {
	for {
		typ, body, err := c.block()
		if errors.Is(err, ErrUnfinished) && c.end != nil && len(body) == 0 && typ == 0 {
			return Record{}, io.EOF
		}
		if err != nil {
			return Record{}, fmt.Errorf("read capture: %w", err)
		}
		rec, found, err := c.take(typ, body)
		if err != nil {
			return Record{}, fmt.Errorf("read capture: %w", err)
		}
		if found {
			return rec, nil
		}
	}
}

// take processes a block, and returns the record if it is a packet of a ring.
func (c *Reader) take(typ uint32, body []byte) (rec Record, found bool, err error) {
	switch typ {
	case blockSection:
		return rec, false, c.section(body)
	case blockInterface:
		return rec, false, c.ring(body)
	case blockTypes:
		return rec, false, c.types(body)
	case blockStatistics:
		return rec, false, c.statistics(body)
	case blockPacket:
		return c.packet(body)
	}
	return rec, false, nil // a block that another program added
}

// block reads a block and returns its type and body. If the file ends before the block does, the error is
// ErrUnfinished; typ is then 0 if the file has no byte of the block.
func (c *Reader) block() (typ uint32, body []byte, err error) {
	var head [8]byte
	if n, err := io.ReadFull(c.r, head[:]); err != nil {
		if n > 0 {
			typ = 1
		}
		return typ, nil, unfinished(err)
	}
	typ, length := le.Uint32(head[:]), le.Uint32(head[4:])
	if length < blockOverhead || length%4 != 0 || length > limitOf(typ) {
		return typ, nil, fmt.Errorf("%w: a block has invalid length %d", ErrFormat, length)
	}
	if !known(typ) { // other programs can add blocks of any size
		_, err := io.CopyN(io.Discard, c.r, int64(length-8))
		return typ, nil, unfinished(err)
	}
	// The buffer grows with the bytes read, not with the length that the block states.
	c.body.Reset()
	n, err := io.CopyN(&c.body, c.r, int64(length-8))
	if err != nil {
		return typ, nil, unfinished(err)
	}
	body = c.body.Bytes()
	if le.Uint32(body[n-4:]) != length {
		return typ, nil, fmt.Errorf("%w: a block has length %d at its start and %d at its end", ErrFormat, length, le.Uint32(body[n-4:]))
	}
	return typ, body[:n-4], nil
}

// known reports whether the Reader uses blocks of this type.
func known(typ uint32) bool {
	switch typ {
	case blockSection, blockInterface, blockTypes, blockStatistics, blockPacket, blockRest:
		return true
	}
	return false
}

// limitOf returns the maximum length of blocks of a type, in bytes. The limit bounds memory: blocks are read into
// memory completely, and a sparse file can have large blocks that take no space on disk.
func limitOf(typ uint32) uint32 {
	switch typ {
	case blockSection, blockInterface, blockStatistics:
		return maxHead
	case blockTypes:
		return maxTypes
	}
	return maxBlock
}

func unfinished(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrUnfinished
	}
	return err
}

// section starts a new capture: a file can hold several, one after the other.
func (c *Reader) section(body []byte) error {
	if len(body) < 16 || le.Uint32(body) != byteOrder || le.Uint16(body[4:]) != 1 {
		return fmt.Errorf("%w: unsupported byte order or version", ErrFormat)
	}
	c.rings, c.end, c.info = nil, nil, Info{}
	return options(body[16:], func(code uint16, value []byte) {
		if code == optApplication {
			c.info.Application = string(value)
		}
	})
}

func (c *Reader) ring(body []byte) error {
	if len(body) < 8 {
		return fmt.Errorf("%w: an interface block is too short", ErrFormat)
	}
	var info Info
	resolution, ring := byte(6), false
	err := options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == optName:
			info.Name = string(value)
		case code == optResolution && len(value) == 1:
			resolution = value[0]
		case code == optRing && len(value) == 24:
			ring = true
			info.Type, info.ID = ebpf.MapType(le.Uint32(value)), ebpf.MapID(le.Uint32(value[4:]))
			info.Size, info.Start = le.Uint64(value[8:]), le.Uint64(value[16:])
		}
	})
	ring = ring && le.Uint16(body) == linkUser0 && resolution == nanoseconds
	if len(c.rings) == maxInterfaces {
		return fmt.Errorf("%w: more than %d interfaces", ErrFormat, maxInterfaces)
	}
	if c.rings = append(c.rings, ring); ring && err == nil {
		info.Application, info.Types = c.info.Application, nil
		c.info = info
	}
	return err
}

// maxInterfaces bounds the interfaces of a section.
const maxInterfaces = 65536

// ringOf reports whether the block with this body belongs to an interface that is a ring.
func (c *Reader) ringOf(body []byte) bool {
	i := le.Uint32(body)
	return uint64(i) < uint64(len(c.rings)) && c.rings[i]
}

func (c *Reader) packet(body []byte) (rec Record, found bool, err error) {
	if len(body) < packetFixed {
		return rec, false, fmt.Errorf("%w: a packet block is too short", ErrFormat)
	}
	if !c.ringOf(body) {
		return rec, false, nil
	}
	n, size := uint64(le.Uint32(body[12:])), uint64(le.Uint32(body[16:]))
	padded := (n + 3) &^ 3
	if padded > uint64(len(body)-packetFixed) {
		return rec, false, fmt.Errorf("%w: %d bytes of a record do not fit into a block of %d bytes", ErrFormat, n, len(body)+blockOverhead)
	}
	rec.Time = timeOf(body[4:])
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
	c.end = nil // a record follows, so this was the end of an earlier capture
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
	if !c.ringOf(body) {
		return nil
	}
	end := &End{Time: timeOf(body[4:])}
	c.end = end
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

// types reads the types of the records.
func (c *Reader) types(body []byte) (err error) {
	if len(body) < 16 {
		return fmt.Errorf("%w: a block of types is too short", ErrFormat)
	}
	if le.Uint32(body[4:]) != typesVersion || !c.ringOf(body) {
		return nil // a later version of rbtool wrote these types; records are readable without them
	}
	if c.info.Types, err = decode.UnmarshalSet(body[8:]); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}
