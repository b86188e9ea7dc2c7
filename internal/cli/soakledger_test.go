package cli

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
)

// ledger tracks which records of a round were committed, and which of them a consumer has printed
// completely.
type ledger struct {
	*soak
	job producer.Job

	mu        sync.Mutex
	base      uint64 // number of the first record of the round
	next      uint64 // records from base to next are committed
	attempted uint64 // records up to attempted may be committed
	seen      []bool // whether record base+i was printed
}

// attempt returns the number for the next record. From now on consumers may print that record, even
// before its producer knows that it is committed.
func (l *ledger) attempt() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempted = l.next + 1
	return l.next
}

func (l *ledger) commit() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = l.attempted
}

// check returns an error unless rec was committed in this round with this content.
func (l *ledger) check(rec []byte) error {
	l.mu.Lock()
	base, end := l.base, l.attempted
	l.mu.Unlock()
	if len(rec) < 8 {
		return fmt.Errorf("record of %d bytes: %x", len(rec), rec)
	}
	seq := binary.LittleEndian.Uint64(rec)
	if seq < base || seq >= end {
		return fmt.Errorf("record %d, of %d bytes, is not of this round: %d to %d", seq, len(rec), base, end)
	}
	if want := l.job.Len(seq); uint32(len(rec)) != want {
		return fmt.Errorf("record %d has %d bytes, not %d", seq, len(rec), want)
	}
	return producer.Verify(seq, rec)
}

// consumed notes that a consumer printed rec.
func (l *ledger) consumed(rec []byte) error {
	if err := l.check(rec); err != nil {
		return err
	}
	seq := binary.LittleEndian.Uint64(rec)
	l.mu.Lock()
	defer l.mu.Unlock()
	for uint64(len(l.seen)) <= seq-l.base {
		l.seen = append(l.seen, false)
	}
	l.seen[seq-l.base] = true
	return nil
}

// complete checks that every committed record was printed by a consumer.
func (l *ledger) complete(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost, first := 0, uint64(0)
	for seq := l.base; seq < l.next; seq++ {
		if i := seq - l.base; i >= uint64(len(l.seen)) || !l.seen[i] {
			if lost++; lost == 1 {
				first = seq
			}
		}
	}
	if lost > 0 {
		l.fault("%s: %d of %d records were lost, first %d", what, lost, l.next-l.base, first)
	}
}

// close ends the round.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add("records", l.next-l.base)
	l.base, l.seen = l.next, l.seen[:0]
}

// raw reads the output of a consumer's tail -o raw; observed reads that of an observer, which is not
// counted as consumed.
func (l *ledger) raw(r *bufio.Reader) error      { return readRaw(r, l.consumed) }
func (l *ledger) observed(r *bufio.Reader) error { return readRaw(r, l.check) }

func readRaw(r *bufio.Reader, take func([]byte) error) error {
	var rec []byte
	for {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return cutOff(err)
		}
		n := binary.LittleEndian.Uint32(head[:])
		if n > producer.MaxRecord {
			return fmt.Errorf("record of %d bytes", n)
		}
		rec = append(rec[:0], make([]byte, n)...)
		if _, err := io.ReadFull(r, rec); err != nil {
			return errCutOff
		}
		if err := take(rec); err != nil {
			return err
		}
	}
}

// json reads the output of tail -o json --no-decode.
func (l *ledger) json(r *bufio.Reader) error {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			if len(line) > 0 {
				return errCutOff
			}
			return cutOff(err)
		}
		var rec struct {
			Len int
			Hex string
		}
		if err := json.Unmarshal(line, &rec); err != nil {
			return fmt.Errorf("%w: %q", err, line)
		}
		data, err := hex.DecodeString(rec.Hex)
		if err == nil && len(data) != rec.Len {
			err = fmt.Errorf("len %d, and %d bytes", rec.Len, len(data))
		}
		if err == nil {
			err = l.consumed(data)
		}
		if err != nil {
			return err
		}
	}
}

// capture reads the file that rbtool record has written.
func (l *ledger) capture(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // record was refused the ring
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() == 0 {
		return errors.Join(err, errCutOff)
	}
	r, err := capture.NewReader(bufio.NewReader(f))
	for err == nil {
		var rec capture.Record
		if rec, err = r.Next(); err == nil {
			err = l.consumed(rec.Data)
		}
	}
	if errors.Is(err, capture.ErrUnfinished) {
		return errCutOff
	}
	return cutOff(err)
}

// cutOff returns errCutOff if err says that the output ends within a record, otherwise err.
func cutOff(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutOff
	}
	return err
}
