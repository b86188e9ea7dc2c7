package capture

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// resumeWindow is the greatest length of a block at which reading resumes, in bytes.
const resumeWindow = 2 * maxWhole

// Resume continues after an error of Next that matches [ErrFormat] or [ErrUnfinished], at the next block of a capture whose
// lengths at both ends agree. It returns false, and Next returns the same error again, if no such block follows or if the
// error is a different one. [Reader.Skipped] tells what is left out.
//
// If the description of a ring may be among it, Resume also leaves out the rings that are described later in the same
// capture, and their records: the number of such a ring is unknown.
func (c *Reader) Resume() bool {
	switch {
	case c.err == nil || !errors.Is(c.err, ErrFormat) && !errors.Is(c.err, ErrUnfinished):
		return false
	case c.broken && !c.scan():
		return false
	case !c.broken && errors.Is(c.err, ErrUnfinished):
		return false // all blocks were read
	}
	c.frozen = c.frozen || c.broken || c.typ == blockInterface
	good := c.offset
	if c.next != nil {
		good -= int64(len(c.next.body) + blockOverhead)
	}
	c.skipped += good - c.whole
	c.whole, c.broken, c.err = good, false, nil
	return true
}

// Skipped returns how many bytes of the file [Reader.Resume] has left out so far, with the blocks of rings without a description.
func (c *Reader) Skipped() int64 { return c.skipped }

// scan moves the reader to the next whole block. It returns false at the end of the file.
func (c *Reader) scan() bool {
	if c.ahead == nil {
		read := append(bytes.Clone(c.head[:c.got]), c.body.Bytes()...)
		c.ahead = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(read), c.r), resumeWindow)
	}
	for {
		if _, err := c.ahead.Discard(1); err != nil {
			return false
		}
		c.offset++
		if c.atBlock() {
			return true
		}
	}
}

// atBlock reports whether a whole block is ahead, of a type that is not only found inside records.
func (c *Reader) atBlock() bool {
	head, err := c.ahead.Peek(blockOverhead)
	if err != nil {
		return false
	}
	typ, length := le.Uint32(head), le.Uint32(head[4:])
	switch {
	case typ != blockSection && typ != blockInterface && typ != blockPacket && typ != blockStatistics:
		return false
	case length < blockOverhead || length%4 != 0 || length > resumeWindow:
		return false
	case typ == blockSection && le.Uint32(head[8:]) != byteOrder:
		return false
	}
	block, err := c.ahead.Peek(int(length))
	return err == nil && le.Uint32(block[length-4:]) == length
}

// blockAhead is block for a Reader that has resumed: it leaves a damaged block that fits the window in place, for scan.
func (c *Reader) blockAhead() (typ uint32, body []byte, whole bool, err error) {
	head, _ := c.ahead.Peek(8)
	if len(head) < 8 {
		return 0, nil, false, nil
	}
	typ, length := le.Uint32(head), le.Uint32(head[4:])
	if !validLength(typ, length) {
		return typ, nil, true, errLength(length)
	}
	if length > resumeWindow {
		return 0, nil, false, nil
	}
	block, err := c.ahead.Peek(int(length))
	if err != nil {
		return typ, nil, true, unfinished(err)
	}
	if end := le.Uint32(block[length-4:]); end != length {
		return typ, nil, true, errLengths(length, end)
	}
	_, _ = c.ahead.Discard(int(length)) // it is buffered
	c.offset += int64(length)
	return typ, block[8 : length-4], true, nil
}
