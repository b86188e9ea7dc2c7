package conform

import (
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

var _ = register(UserRingBuf,
	Rule{
		Name:      "wakeup",
		Statement: "A drain that passed a sample wakes the producer.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			u.put(8, 1)
			equal(t, "result", d.result(0), 1)
			wake.comes("a drain")
		},
	},
	Rule{
		Name:      "wakeup-not-for-nothing",
		Statement: "A drain that passed no sample wakes nobody.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			equal(t, "result", d.result(0), 0)
			wake.doesNotCome("a drain of nothing")
			u.put(8, 1)
			equal(t, "result with a sample", d.result(0), 1)
			wake.comes("a drain")
		},
	},
	Rule{
		Name:      "wakeup-flag-no",
		Statement: "With BPF_RB_NO_WAKEUP a drain wakes nobody.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			u.put(8, 1)
			equal(t, "result", d.result(noWakeupFlag), 1)
			wake.doesNotCome("a drain with BPF_RB_NO_WAKEUP")
		},
	},
	Rule{
		Name:      "wakeup-flag-force",
		Statement: "With BPF_RB_FORCE_WAKEUP a drain wakes the producer although it passed no sample.",
		Source:    drainSource,
		check: func(t *T) {
			u := t.userRing(page)
			d, wake := u.drainer(0), t.sleeper(u.m, unix.EPOLLOUT)
			equal(t, "result", d.result(forceWakeupFlag), 0)
			wake.comes("a drain with BPF_RB_FORCE_WAKEUP")
		},
	},
	Rule{
		Name:      "poll",
		Statement: "poll(2) reports POLLOUT unless the ring is full.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_poll_user (Linux 6.1)",
		check: func(t *T) {
			u := t.userRing(page)
			d := u.drainer(0)
			equal(t, "ready while empty", t.ready(u.m, unix.POLLOUT), true)
			u.put(ring.Header(page-ring.HeaderSize), 1)
			equal(t, "ready while full", t.ready(u.m, unix.POLLOUT), false)
			d.drain(0)
			equal(t, "ready after a drain", t.ready(u.m, unix.POLLOUT), true)
		},
	},
)
