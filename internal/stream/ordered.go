package stream

import (
	"container/heap"
	"context"
	"errors"
	"io"
	"iter"
	"time"

	"github.com/rbtool/rbtool/consumer"
)

// Ordered is a Source that merges the records of another Source by a key, such as their time. It holds each record back for
// a window after it was read, at most 64 MiB of them, and yields the records that it has by ascending key. Records that come
// later than records with greater keys were yielded are late: they are yielded at once.
//
// Records that are held back are read already: if the process is killed, those of a consumed ring are lost.
type Ordered struct {
	Source
	key    func(consumer.Record) uint64
	window time.Duration

	timed  interface{ Time() time.Time } // the other Source if it knows when its records were read, or nil
	held   heldRecords
	ofRing []int  // number of held records by Record.Ring
	turns  []turn // one for each pass that has read records and is not over
	due    uint64 // records up to this key are due
	over   bool   // a turn is over, so that due is set
	count  uint64 // of records that were held
	bytes  int    // of the held records
	spare  []*held
	last   uint64 // the greatest key that was yielded
	late   uint64
	ending bool      // all held records are due
	read   time.Time // when the current record was read
}

// held is a record that is held back.
type held struct {
	consumer.Record
	key, n uint64 // n orders records of one key as they were read
	read   time.Time
}

// turn says when the records of a pass are due, and with them all up to the greatest key among them.
type turn struct {
	at  time.Time
	key uint64
}

// maxHeld bounds the memory of held records in bytes.
const maxHeld = 64 << 20

// size is how much of maxHeld the record takes.
func (h *held) size() int { return cap(h.Data) + 128 }

// NewOrdered returns a Source of the records of src by ascending key.
func NewOrdered(src Source, key func(consumer.Record) uint64, window time.Duration) *Ordered {
	o := &Ordered{Source: src, key: key, window: window}
	o.timed, _ = src.(interface{ Time() time.Time })
	return o
}

// Late returns the number of records that were yielded after records with greater keys.
func (o *Ordered) Late() uint64 { return o.late }

// Held returns the number of records that were read and not yielded.
func (o *Ordered) Held() int { return len(o.held) }

// Holds reports whether records of a ring were read and not yielded.
func (o *Ordered) Holds(ring int) bool { return ring < len(o.ofRing) && o.ofRing[ring] > 0 }

// Time returns the time at which the current record of a pass was read.
func (o *Ordered) Time() time.Time { return o.read }

// Wait implements [Source].
func (o *Ordered) Wait(ctx context.Context) error {
	if len(o.turns) == 0 {
		return o.end(o.Source.Wait(ctx))
	}
	due, cancel := context.WithDeadline(ctx, o.turns[0].at)
	defer cancel()
	err := o.Source.Wait(due)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return o.end(err)
}

// end makes all records due if err ends the source or the wait.
func (o *Ordered) end(err error) error {
	o.ending = err != nil
	if err == io.EOF && len(o.held) > 0 {
		return nil
	}
	return err
}

// Pass implements [Source]. limit is that of the other Source: a pass yields all records that are due.
func (o *Ordered) Pass(limit int) iter.Seq[consumer.Record] {
	return func(yield func(consumer.Record) bool) {
		if !o.take(limit, yield) {
			return
		}
		o.turn()
		for len(o.held) > 0 && (o.ending || o.over && o.held[0].key <= o.due) {
			if !o.pop(yield) {
				return
			}
		}
	}
}

// take holds the records of a pass of the other Source. If there are too many, it yields those with the least keys. It returns
// false if yield does.
func (o *Ordered) take(limit int, yield func(consumer.Record) bool) bool {
	pass, before := turn{at: time.Now().Add(o.window)}, o.count
	defer func() {
		if o.count > before {
			o.turns = append(o.turns, pass)
		}
	}()
	for rec := range o.Source.Pass(limit) {
		for o.bytes > maxHeld {
			if !o.pop(yield) {
				return false // rec stays in the other Source
			}
		}
		pass.key = max(pass.key, o.hold(rec))
	}
	return true
}

// turn makes the records of turns that are over due.
func (o *Ordered) turn() {
	now := time.Now()
	for len(o.turns) > 0 && !o.turns[0].at.After(now) {
		o.due, o.over = max(o.due, o.turns[0].key), true
		o.turns = o.turns[1:]
	}
}

// hold keeps a copy of a record and returns its key.
func (o *Ordered) hold(rec consumer.Record) uint64 {
	h := new(held)
	if n := len(o.spare); n > 0 {
		h, o.spare = o.spare[n-1], o.spare[:n-1]
	}
	data := append(h.Data[:0], rec.Data...)
	o.count++
	*h = held{Record: rec, key: o.key(rec), n: o.count, read: o.now()}
	h.Data = data
	o.bytes += h.size()
	for rec.Ring >= len(o.ofRing) {
		o.ofRing = append(o.ofRing, 0)
	}
	o.ofRing[rec.Ring]++
	heap.Push(&o.held, h)
	return h.key
}

// now returns when the current record of the other Source was read.
func (o *Ordered) now() time.Time {
	if o.timed != nil {
		return o.timed.Time()
	}
	return time.Now()
}

// pop yields the held record with the least key. If yield returns false, the record stays.
func (o *Ordered) pop(yield func(consumer.Record) bool) bool {
	h := o.held[0]
	o.read = h.read
	if !yield(h.Record) {
		return false
	}
	heap.Pop(&o.held)
	o.bytes -= h.size()
	o.ofRing[h.Ring]--
	if h.key < o.last {
		o.late++
	}
	o.last = max(o.last, h.key)
	const most = 1 << 12
	if len(o.spare) < most && cap(h.Data) <= 1<<12 {
		o.spare = append(o.spare, h)
	}
	return true
}

// heldRecords is a heap: the first one has the least key.
type heldRecords []*held

func (r heldRecords) Len() int { return len(r) }

func (r heldRecords) Less(i, j int) bool {
	return r[i].key < r[j].key || r[i].key == r[j].key && r[i].n < r[j].n
}

func (r heldRecords) Swap(i, j int) { r[i], r[j] = r[j], r[i] }

func (r *heldRecords) Push(h any) { *r = append(*r, h.(*held)) }

func (r *heldRecords) Pop() any {
	old := *r
	n := len(old) - 1
	h := old[n]
	old[n] = nil
	*r = old[:n]
	return h
}
