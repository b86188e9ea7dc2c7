// Package drain empties a USER_RINGBUF map in the kernel: into a RINGBUF map, or
// to count what came.
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
//	// Samples of user become records of ring.
//
// # Triggers
//
// bpf_user_ringbuf_drain runs only where a program calls it. [Drain.Run] calls it
// once, [Drain.Start] at intervals from a timer in the kernel, [Drain.Attach]
// whenever a tracepoint is hit. They may be combined: of runs that
// overlap the later one does nothing and counts itself as contended, so
// that samples are delivered in the order of the user ring.
//
// [Drain.Pin] makes timer and tracepoint independent of the process; [Open] finds
// a pinned Drain again, [Remove] ends it. Without a pin they end with Close, or
// with the process.
//
// # What is promised
//
// A sample becomes one record of the same bytes, in the order of the user ring,
// and none is lost, however the draining ends. The kernel removes a sample from the user ring
// whatever the callback does (kernel/bpf/ringbuf.c, bpf_user_ringbuf_drain), so a run first
// reserves or writes its record. While the target is full, samples stay in the user ring,
// where the next Drain finds them.
//
// To know the next samples, a run reads the ring's memory as the kernel will. It can be wrong
// in two cases: another program drains the ring at the same time, or only discarded
// samples lie ahead and one is committed at that very moment. An unforeseen sample without
// room is kept aside in a map of the Drain, and the next run delivers it first. Close and
// [Remove] deliver it if they can, and return [ErrAside] if not. Discarded samples alone
// are released once the target has room for the largest sample.
//
// A producer that changes committed samples spoils only those.
//
// A sample that the target can never hold ([Drain.MaxSample]) is counted and
// dropped. The largest sample is 16 MiB - 1, the size that the kernel gives a
// dynptr (kernel/bpf/helpers.c, bpf_dynptr_check_size).
//
// The consumer of the target is woken once a run, not for each record, and
// earlier when the ring becomes half full. A run that wrote several records
// may leave a discarded record of no bytes behind them: that is what wakes.
//
// # What it costs
//
// A Drain keeps MaxSample bytes of kernel memory for the sample in hand: as
// much as the smaller of the rings unless [Options] says less. A sample is copied
// twice, into that memory and into the target.
//
// A run takes up to 1024 samples or 64 KiB at a time. The first record of each such batch
// is committed last, so a consumer waits for the batch, a tenth of a millisecond at most.
//
// Linux 6.1 with BTF; CAP_BPF and CAP_PERFMON. All methods may be called by many
// goroutines at once.
package drain

//go:generate go tool bpf2go -target bpfel -go-package drain -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../headers" -type drain_run -type drain_arg -type drain_timer_arg bpf drain.bpf.c
