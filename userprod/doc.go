// Package userprod writes samples into BPF user ring buffers
// (BPF_MAP_TYPE_USER_RINGBUF), from where programs in the kernel take them with
// bpf_user_ringbuf_drain.
//
// The smallest use:
//
//	p, err := userprod.New(commands, userprod.Options{}) // commands: an *ebpf.Map
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//	if _, err := p.Write(command); err != nil { // one sample; waits for room
//		return err
//	}
//
// # Ways to produce
//
//   - [Producer.Write], [Producer.WriteWait] and [Producer.TryWrite] copy one sample
//     into the ring.
//   - [Producer.Reserve] and [Producer.ReserveWait] hand out a [Sample]: memory of
//     the ring to be filled, and then committed or discarded, by any
//     goroutine at any time. A sample that is not committed yet holds up those
//     that were reserved after it.
//   - [Producer.Batch] gives the ring to one goroutine for a while, which is
//     the fast way to write many samples, whether each is published at once or many
//     together: with [Batch.Next] of any size, in a loop over [Batch.Samples], the
//     fastest, of one.
//   - [WriteAll] writes a slice of structs, a sample each, at memory speed.
//
// # Concurrency
//
// All methods of Producer and Sample may be called by many goroutines at once.
// A Batch belongs to the goroutine that began it; until it ends, other
// goroutines wait in Reserve and Write, but not in Commit and Discard. A
// goroutine that waits for room while it has samples reserved can wait for itself.
//
// # One process
//
// The protocol allows one producer. New refuses a ring that another process
// produces into, with [ErrBusy]; the claim ends with Close, or with the process. A
// process that dies leaves at most samples that are BUSY for ever, which would block
// the ring: the next New discards them.
//
// # Trust
//
// Every process that has the map can write into the ring's memory. Positions
// and headers that contradict what the Producer did are an error that is
// [ErrCorrupt], never a fault or an endless loop.
package userprod
