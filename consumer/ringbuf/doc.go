// Package ringbuf is a drop-in replacement for package
// [github.com/cilium/ebpf/ringbuf]: the names and semantics of its v0.22, over
// [github.com/rbtool/rbtool/consumer]. Changing the import is all that a program needs:
//
//	import "github.com/rbtool/rbtool/consumer/ringbuf"
//
// A waiting Read costs a goroutine, not a thread. New code gets more from package
// consumer: iteration without copies, contexts, many rings on one goroutine, statistics.
//
// # Differences
//
// The kernel learns which records were read once per batch, of at most an eighth of the ring,
// and as soon as the ring is empty; cilium/ebpf publishes each record. A process that is killed
// may therefore get the records of its last batch again. [Reader.Close] publishes all records
// that were read.
//
// A waiting Read also looks at the ring every 100 ms: it returns records that were
// committed with BPF_RB_NO_WAKEUP without [Reader.Flush].
//
// Rings in overwrite mode can be read, except on machines that reorder stores, such as arm64, where
// NewReader refuses them; cilium/ebpf opens them and takes overwritten bytes for records.
//
// While the next record is still being written, Read sleeps rather than spins;
// [Reader.Close] and a deadline end that wait.
//
// [Reader.SetDeadline] also applies to a Read under way, instead of waiting for its end.
// [Reader.AvailableBytes] returns 0 after Close, where cilium/ebpf's panics.
//
// # Other consumers
//
// As with cilium/ebpf, NewReader neither claims its ring nor fails because another consumer
// has it open: a program can open its ring before its predecessor has closed it, and resumes
// where that stops. Consumers that read at the same time share the records: each gets a part,
// and some records come to both: what one has read and not published. [consumer.NewReader]
// claims its ring instead.
package ringbuf
