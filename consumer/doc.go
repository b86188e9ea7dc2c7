// Package consumer reads the records of BPF ring buffers (BPF_MAP_TYPE_RINGBUF)
// out of the memory that the kernel writes them to.
//
// The smallest use, which waits for records and stops when ctx is done:
//
//	r, err := consumer.NewReader(events, consumer.Options{})
//	if err != nil {
//		return err
//	}
//	defer r.Close()
//	for rec, err := range r.Records(ctx) {
//		if err != nil {
//			return err
//		}
//		handle(rec.Data)
//	}
//
// [Reader.Pass] is the fastest way: one pass over what is there now, without
// copies, calls or barriers for each record. [Reader.Records] waits between
// passes; [Reader.Read] returns one record at a time as a copy, [Reader.ReadInto]
// copies it to memory that is used again. [Group] reads many rings on one goroutine.
// [Observer] watches a ring that somebody else consumes, and changes nothing in it.
//
// # What is consumed
//
// A record is consumed when the loop goes on to the next one: leaving the loop
// at a record leaves that record and the later ones in the ring. The kernel is
// told of consumed records once for a batch, not once for each. A process that
// is killed gets the records of its last batch again: at least once, never less.
//
// # Concurrency
//
// One goroutine at a time may read from a Reader or Group. Close and Stats may
// be called by any, at any time. A ring has one consumer: nothing in the kernel
// guards against a second one, in this process or in another. [Options].Claim guards
// against other users of this package: NewReader refuses a claimed ring, and a Reader
// that is robbed of its ring stops without harm.
//
// # Trust
//
// Lengths and positions are checked against the mapping before use. What does
// not fit is an error that is [ErrCorrupt], never a fault.
package consumer
