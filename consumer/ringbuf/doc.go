// Package ringbuf is a drop-in replacement for package
// [github.com/cilium/ebpf/ringbuf]: the names and semantics of its v0.22, over
// [github.com/rbtool/rbtool/consumer]. Changing the import is all that a program needs:
//
//	import "github.com/rbtool/rbtool/consumer/ringbuf"
//
// A waiting Read uses a goroutine, not a thread. All methods of [Reader] may be called
// concurrently. For new code, package consumer has more: iteration without copies, contexts, many
// rings on one goroutine, statistics.
//
// # Differences
//
// Records that were read are published to the kernel, which frees their space, once per batch of at
// most an eighth of the ring, and as soon as the ring is empty; cilium/ebpf publishes each record.
// If a process is killed, its successor may therefore get the records of the last batch again.
// [Reader.Close] publishes all records that were read.
//
// A waiting Read also checks the ring every 100 ms. So it returns records that were committed with
// BPF_RB_NO_WAKEUP without a call of [Reader.Flush].
//
// Rings in overwrite mode can be read on amd64 and, if the kernel has membarrier(2), on arm64.
// cilium/ebpf opens such rings and takes overwritten bytes for records.
//
// While the next record is not committed, Read sleeps; the Read of cilium/ebpf spins.
// [Reader.Close] and a deadline end the wait.
//
// [Reader.SetDeadline] also applies to a Read in progress; in cilium/ebpf it waits for the end of
// that Read. [Reader.AvailableBytes] returns 0 after Close; in cilium/ebpf it panics.
//
// # Other consumers
//
// As with cilium/ebpf, NewReader neither claims the ring nor fails because another consumer has it
// open: a program can open its ring before its predecessor has closed it, and resumes where the
// predecessor stops. If several consumers read at the same time, each gets a part of the records,
// and records that one has read and not published may be read by others too. [consumer.NewReader]
// claims its ring instead.
package ringbuf
