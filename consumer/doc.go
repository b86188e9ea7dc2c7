// Package consumer reads BPF ring buffers (BPF_MAP_TYPE_RINGBUF) through their mapped memory.
//
// The smallest use waits for records until ctx is done:
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
// [Reader.Pass] is the fastest way: one pass over the records that are ready, without a copy, a
// call or a barrier for each. [Reader.Records] waits between passes. [Reader.Read] waits and
// returns one record as a copy, [Reader.ReadInto] reuses the caller's memory for it, and
// [Reader.TryRead] does not wait. [Group] reads many rings on one goroutine. [Observer] watches a
// ring that another process consumes, and changes nothing in it. [Source] is the interface that
// they share.
//
// # What is consumed
//
// A record is consumed when the loop goes on to the next one; leaving the loop at a record leaves
// it and the later ones in the ring. The kernel is told once for a batch of records. A process that
// is killed gets the records of its last batch again: delivery is at least once.
//
// # One consumer
//
// A ring has one consumer: the kernel does not guard against a second. [NewReader] therefore claims
// the ring against other users of this package and fails with [ErrBusy] if it is claimed, unless
// [Options].Shared or [Options].Steal is set. A Reader whose ring is stolen stops without harm.
//
// # Concurrency
//
// One goroutine at a time may read from a Reader, Group or Observer. Close and Stats may be called
// by any, at any time.
//
// # Trust
//
// Lengths and positions are checked against the mapping before use. Inconsistent ones are an error
// matching [ErrCorrupt], never a fault.
package consumer
