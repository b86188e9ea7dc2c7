// Package consumer reads BPF ring buffers (BPF_MAP_TYPE_RINGBUF, Linux 5.8) through their mapped
// memory, on 64-bit machines.
//
// The smallest use waits for records until ctx is done:
//
//	r, err := consumer.NewReader(events, consumer.Options{}) // events: an *ebpf.Map
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
// [Reader.Pass] is the fastest way: one pass over the records that are ready, without a copy, call
// or barrier per record. [Reader.Records] waits between passes. [Reader.Read] waits and returns one
// record as a copy, [Reader.ReadInto] reuses the caller's memory for the copy, and [Reader.TryRead]
// does not wait. [Group] reads many rings on one goroutine. [Observer] watches a ring that another
// process consumes, and changes nothing in it; [ObserverGroup] watches many rings. All of them
// implement the interface [Source].
//
// # Records
//
// A program reserves a record, and then commits or discards it. Until then the record is BUSY
// (BPF_RINGBUF_BUSY_BIT), and it holds up all records behind it. Discarded records are skipped.
//
// A ring that is full refuses new records. A ring in overwrite mode (BPF_F_RB_OVERWRITE, Linux
// 6.19) overwrites its oldest records instead, whether they were read or not; [Stats].Lost counts
// the bytes that were not read. On arm64, a pass over such a ring and a look at a BUSY record can
// take a call of membarrier(2), in which the thread sleeps for some milliseconds, unless producers
// go on writing. Its speed there is unmeasured.
//
// # What is consumed
//
// A record is consumed when the loop moves on to the next record. Leaving the loop at a record
// leaves that record and the later ones in the ring. Consumption is published to the kernel, which
// frees the space, once for a batch of records. If a process is killed, the records of its last
// batch are read again by its successor: delivery is at least once.
//
// # One consumer
//
// A ring has one consumer: the kernel does not guard against a second. [NewReader] therefore claims
// the ring against other users of this package, and fails with [ErrBusy] if it is claimed already,
// unless [Options].Shared or [Options].Steal is set. A Reader whose ring is stolen publishes
// nothing more and fails with [ErrBusy].
//
// # Concurrency
//
// One goroutine at a time may read from a Reader, Group, Observer or ObserverGroup. Any goroutine may call Close
// and Stats at any time.
//
// # Errors
//
// Errors wrap their causes: test for [ErrBusy], [ErrCorrupt], [ErrEmpty] and [os.ErrClosed] with
// errors.Is, and for [*BusyError] and [*RingError] with errors.As.
//
// # Trust
//
// Lengths and positions are checked against the mapping before use. If they are inconsistent,
// reading fails with an error matching [ErrCorrupt]; it never faults.
package consumer
