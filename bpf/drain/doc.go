// Package drain moves the samples of a USER_RINGBUF map into a RINGBUF map inside the kernel, or
// counts and drops them.
//
// The smallest use:
//
//	d, err := drain.Load(user, drain.Options{To: ring}) // two *ebpf.Map
//	if err != nil {
//		return err
//	}
//	defer d.Close()
//	if err := d.Start(time.Millisecond); err != nil {
//		return err
//	}
//	// From now on samples of user become records of ring, within about a millisecond.
//
// # Triggers
//
// The kernel drains a user ring only when a program calls bpf_user_ringbuf_drain. [Drain.Run] makes
// one such run, [Drain.Start] one at each expiry of a timer in the kernel, [Drain.Attach] one at
// each hit of a tracepoint. They can be combined: if two runs overlap, the later run does nothing
// and is counted as contended, so that samples are delivered in order.
//
// [Drain.Pin] makes the timer and the tracepoint independent of the process; [Open] opens a pinned
// Drain, [Remove] ends it. Without a pin they end with Close or with the process.
//
// # Guarantees
//
// Each sample becomes one record with the same bytes, in the order of the user ring. No sample is
// lost, even if the process is killed. The kernel removes a sample from the user ring whatever the
// callback returns (kernel/bpf/ringbuf.c, bpf_user_ringbuf_drain), so a run first reserves or
// writes its record. While the target is full, samples stay in the user ring, for this or a later
// Drain.
//
// To find the next samples, a run reads the memory of the user ring as the kernel will. The kernel
// may take another sample than the run has found in two cases: another program drains the ring at
// the same time, or a sample is committed behind discarded samples at that moment. If the target
// has no room for that sample, the run keeps it aside in a map of the Drain, and the next run
// delivers it first. Close and [Remove] deliver it if they can, and return [ErrAside] if not. A run
// that finds only discarded samples releases them once the target has room for the largest sample.
//
// A producer that changes samples after committing them damages only those samples.
//
// A sample that the target can never hold ([Drain.MaxSample]) is counted and dropped. The
// largest sample is 16 MiB - 1, the kernel's limit for a dynptr (kernel/bpf/helpers.c,
// bpf_dynptr_check_size).
//
// A run wakes the consumer of the target once, and also when the ring becomes half full. To wake
// it, a run that wrote several records may append an empty discarded record.
//
// # Costs
//
// A Drain keeps MaxSample bytes of kernel memory for the current sample: the size of the smaller
// ring unless [Options] says less. A sample is copied twice, into that memory and into the
// target.
//
// A run takes samples in batches of up to 1024 or 64 KiB. The first record of a batch is committed
// last, so a consumer waits for the whole batch, at most a tenth of a millisecond.
//
// Drain needs Linux 6.1 with BTF, CAP_BPF and CAP_PERFMON. Many goroutines may call its methods at
// the same time.
package drain

//go:generate go tool bpf2go -target bpfel -go-package drain -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type drain_run -type drain_arg -type drain_timer_arg bpf drain.bpf.c
