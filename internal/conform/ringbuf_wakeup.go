package conform

import (
	"golang.org/x/sys/unix"
)

// Flags of a commit, include/uapi/linux/bpf.h.
const (
	noWakeupFlag    = 1 << 0 // BPF_RB_NO_WAKEUP
	forceWakeupFlag = 1 << 1 // BPF_RB_FORCE_WAKEUP
)

var _ = register(RingBuf,
	Rule{
		Name:      "wakeup-when-caught-up",
		Statement: "Without flags a commit wakes the consumer when consumer_pos is at the record.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			output(8, 0)
			wake.comes("the first record")
			r.empty()
			output(8, 0)
			wake.comes("a record after all was consumed")
		},
	},
	Rule{
		Name:      "no-wakeup-when-behind",
		Statement: "Without flags a commit does not wake a consumer that has an earlier record to consume.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			output(8, 0)
			wake.comes("the first record")
			output(8, 0)
			wake.doesNotCome("a record behind one that is not consumed")
		},
	},
	Rule{
		Name:      "wakeup-flag-no",
		Statement: "BPF_RB_NO_WAKEUP wakes nobody, even when the consumer caught up.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			equal(t, "result", output(8, noWakeupFlag), 0)
			wake.doesNotCome("BPF_RB_NO_WAKEUP")
			r.record(0, 8)
		},
	},
	Rule{
		Name:      "wakeup-flag-force",
		Statement: "BPF_RB_FORCE_WAKEUP wakes the consumer although it is behind.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			output, wake := t.outputter(r.m), t.sleeper(r.m, unix.EPOLLIN)
			output(8, noWakeupFlag)
			output(8, 0)
			wake.doesNotCome("a record behind one that is not consumed")
			output(8, forceWakeupFlag)
			wake.comes("BPF_RB_FORCE_WAKEUP")
		},
	},
	Rule{
		Name:      "wakeup-of-discard",
		Statement: "A discard wakes as a submit does, though there is nothing to read.",
		Source:    "kernel/bpf/ringbuf.c, bpf_ringbuf_commit",
		check: func(t *T) {
			r := t.ring()
			wake := t.sleeper(r.m, unix.EPOLLIN)
			p := t.load(rawTracepoint, oneRecord(r.m, 8, discard, 0))
			t.call(p, 1)
			wake.comes("a discarded record")
		},
	},
	Rule{
		Name:      "poll",
		Statement: "poll(2) reports POLLIN as long as anything is not consumed.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_poll_kern",
		check: func(t *T) {
			r := t.ring()
			equal(t, "ready while empty", t.ready(r.m, unix.POLLIN), false)
			t.outputter(r.m)(8, noWakeupFlag)
			equal(t, "ready with a record", t.ready(r.m, unix.POLLIN), true)
			r.empty()
			equal(t, "ready after it is consumed", t.ready(r.m, unix.POLLIN), false)
		},
	},
)
