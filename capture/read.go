package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
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
	r       io.Reader
	rings   []recorded // the interfaces of the section
	ring    int        // index of the last record's ring
	types   typeCache
	parts   typeParts
	offset  int64 // bytes read, of whole blocks
	whole   int64 // bytes of whole records and other blocks
	section Section
	part    int // captures before this one
	before  End // sums of their counts
	cut     int // number of them without an end
	last    Record
	unread  bool  // the caller has not read last yet
	err     error // follows last; final
	closed  atomic.Bool
	user0   bool    // an interface has the link type of captures
	head    [8]byte // the beginning of the last block
	got     int     // bytes of head that the file has
	body    bytes.Buffer
	record  []byte // buffer of a record that has several blocks

	// For Resume.
	typ     uint32        // of the last block
	broken  bool          // err is that of a block's lengths
	frozen  bool          // the numbers of rings that follow in the section are unknown
	skipped int64         // bytes of the file
	ahead   *bufio.Reader // reads r after the first broken block; nil before it
	next    *nextBlock    // read in vain for the rest of a record, or nil
}

// nextBlock is a block that is read already.
type nextBlock struct {
	typ  uint32
	body []byte
}

// recorded is an interface of a section.
type recorded struct {
	info Info // its Type is 0 if the interface is not a ring
	end  *End // nil before the end of the ring
}

// NewReader returns a Reader of r, which should be buffered. It reads r up to the first record, or to the end
// if there are no records. The caller still owns r, and closes it after the last use of the Reader. The error
// matches [ErrFormat] if r is not a capture or is damaged before the description of its first ring, or is the error of reading r.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{r: r}
	typ, body, err := c.block()
	if head := c.head[:c.got]; len(head) < 4 || le.Uint32(head) != blockSection {
		if err == nil || errors.Is(err, ErrUnfinished) || errors.Is(err, ErrFormat) {
			err = foreign(head)
		}
	}
	if err == nil {
		err = c.begin(typ, body)
	}
	if err != nil {
		return nil, fmt.Errorf("read capture: %w", asFormat(err))
	}
	c.whole = c.offset
	_, err = c.Next()
	switch {
	case err == nil:
		c.unread = true
	case errors.Is(err, ErrFormat) && slices.ContainsFunc(c.rings, recorded.isRing): // Next returns it, too
	case err != io.EOF && !errors.Is(err, ErrUnfinished):
		return nil, err
	case !slices.ContainsFunc(c.rings, recorded.isRing):
		return nil, fmt.Errorf("read capture: %w", noRing(c.section.Application, c.user0))
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

// Info returns the description of the ring to which the last record belongs, and before the first record of the
// first ring.
func (c *Reader) Info() Info {
	if c.ring < len(c.rings) {
		return c.rings[c.ring].info
	}
	return Info{Section: c.section}
}

// Rings returns the descriptions of all rings of the capture so far, by [Record.Ring]. Info.Type is 0 for an
// index without a ring. When the Reader reaches another capture in the same file, Rings begins anew.
func (c *Reader) Rings() []Info {
	var list []Info
	for i := range c.rings {
		list = append(list, c.rings[i].info)
	}
	return list
}

// End returns the end of the capture, or nil before the Reader reaches the end and for an unfinished capture. Of
// several captures in a file it returns the end of the last one. Of several rings it has the sums of their counts,
// and Time, Pos and Ring of the last one to end.
func (c *Reader) End() *End {
	var sum *End
	for i := range c.rings {
		ring := &c.rings[i]
		switch {
		case !ring.isRing():
			continue
		case ring.end == nil:
			return nil
		case sum == nil:
			sum = &End{}
		}
		end := *ring.end
		if sum.Time.After(end.Time) {
			end.Time, end.Pos, end.Ring = sum.Time, sum.Pos, sum.Ring
		}
		end.Records += sum.Records
		end.Discarded += sum.Discarded
		end.Lost += sum.Lost
		*sum = end
	}
	return sum
}

// Part returns how many captures of the file end before the one to which the last record belongs: 0 for the first.
func (c *Reader) Part() int { return c.part }

// Before returns the counts of the captures of [Reader.Part], summed up, and how many of these captures have no end: their
// recorders were killed.
func (c *Reader) Before() (counts End, unfinished int) { return c.before, c.cut }

// Offset returns how many bytes of the file the Reader has read up to the end of the last record, or of the last
// whole block if no record follows. A truncated capture can be continued there by another one.
func (c *Reader) Offset() int64 { return c.whole }

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
		c.typ = typ
		if errors.Is(err, ErrUnfinished) && typ == 0 && c.End() != nil {
			return Record{}, io.EOF
		}
		if err != nil {
			return Record{}, fmt.Errorf("read capture: %w", err)
		}
		rec, found, err := c.take(typ, body)
		if err != nil {
			return Record{}, fmt.Errorf("read capture: %w", err)
		}
		c.whole = c.offset
		if found {
			return rec, nil
		}
	}
}

// take processes a block, and returns the record if it is a packet of a ring.
func (c *Reader) take(typ uint32, body []byte) (rec Record, found bool, err error) {
	switch typ {
	case blockSection:
		return rec, false, c.begin(typ, body)
	case blockInterface:
		return rec, false, c.addRing(body)
	case blockTypes:
		return rec, false, c.addTypes(body)
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
	if b := c.next; b != nil {
		c.next = nil
		return b.typ, b.body, nil
	}
	if c.ahead != nil {
		var done bool
		if typ, body, done, err = c.blockAhead(); done {
			c.broken = err != nil
			return typ, body, err
		}
	}
	typ, body, err = c.readBlock()
	c.broken = err != nil && typ != 0
	return typ, body, err
}

// readBlock is block, with a block's bytes read even if it is damaged.
func (c *Reader) readBlock() (typ uint32, body []byte, err error) {
	r := c.r
	if c.ahead != nil {
		r = c.ahead
	}
	// The buffer grows with the bytes read, not with the length that the block states.
	c.body.Reset()
	if c.got, err = io.ReadFull(r, c.head[:]); err != nil {
		if c.got > 0 {
			typ = 1
		}
		return typ, nil, unfinished(err)
	}
	typ, length := le.Uint32(c.head[:]), le.Uint32(c.head[4:])
	if !validLength(typ, length) {
		return typ, nil, errLength(length)
	}
	if !known(typ) { // other programs can add blocks of any size
		_, err := io.CopyN(io.Discard, r, int64(length-8))
		c.offset += int64(length)
		return typ, nil, unfinished(err)
	}
	n, err := io.CopyN(&c.body, r, int64(length-8))
	if err != nil {
		return typ, nil, unfinished(err)
	}
	body = c.body.Bytes()
	if end := le.Uint32(body[n-4:]); end != length {
		return typ, nil, errLengths(length, end)
	}
	c.offset += int64(length)
	return typ, body[:n-4], nil
}

// validLength reports whether blocks of a type can have this length.
func validLength(typ, length uint32) bool {
	return length >= blockOverhead && length%4 == 0 && length <= limitOf(typ)
}

func errLength(length uint32) error {
	return fmt.Errorf("%w: a block has invalid length %d", ErrFormat, length)
}

func errLengths(start, end uint32) error {
	return fmt.Errorf("%w: a block has length %d at its start and %d at its end", ErrFormat, start, end)
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
