// Package drops counts lost records: the calls of BPF programs that reserve space in the rings of the host, and those
// that fail because the ring is full. The kernel counts failed reservations nowhere.
//
//	c, err := drops.New(drops.Options{})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	...
//	report, err := c.Read()
//	for _, r := range report.Rings {
//		fmt.Println(r.Name, r.Calls, r.Failed)
//	}
//
// The counted helpers are bpf_ringbuf_reserve, bpf_ringbuf_reserve_dynptr and bpf_ringbuf_output
// (kernel/bpf/ringbuf.c), called by any program. A [Counter] does not touch the rings, nor does it need the
// cooperation of programs or consumers.
//
// # Engines
//
// [Fexit] runs a program when a helper returns; its counts are exact. [Breakpoint] runs one at an execution
// breakpoint on a helper's first instruction, and computes the outcome from the ring's positions as the kernel is
// about to do (__bpf_ringbuf_reserve). Another CPU or the consumer can move a position in between. So two things check the result:
// the next call on the same CPU shows whether the ring's producer moved, and per ring the lengths of all
// calls minus the movement of the producer are the bytes that were refused. What neither decides is the distance between
// [Ring.FailedLow] and [Ring.FailedHigh]. New tries the engines with calls of its own and takes the first that counts them
// rightly. docs/drops.md says what each cannot see.
//
// Programs, links, perf events and maps belong to the process, by descriptors. Nothing is pinned: all ends with the
// process, however it dies.
//
// # Advice
//
// [Advisor] watches the load and the records of one ring: the size that would have held its bursts, or that none would; the unwritten part of
// records; discards; how often the consumer sleeps. It works on every kernel, and is as exact as
// the refused bytes that a Counter gives it. [Burst], [Shape] and [Sleeps] are its parts.
//
// New needs CAP_SYS_ADMIN, and CAP_SYSLOG to name callers. Any number of goroutines can use a Counter.
package drops
