package consumer

import "time"

// Options change how a Reader or Group waits, what it tells the kernel, and how it treats other
// consumers. The zero value waits with the least CPU time and claims the ring.
type Options struct {
	// BusyPoll is how long a wait polls the ring, using a CPU, before it sleeps. A record that
	// comes within this time is in hand after about a microsecond, where a sleeper takes tens.
	// Zero disables polling.
	BusyPoll time.Duration

	// Coalesce, if positive, trades latency of about this much for throughput. A wait that
	// follows records pauses once for this long and checks the ring again before it sleeps.
	// Meanwhile it keeps the space of the last record, so that the producer finds its
	// consumer behind and sends no wakeup. 50 µs suits a flood.
	//
	// A pass leaves that space unpublished until Wait publishes it. Do not combine Coalesce
	// with an epoll of your own on the map: to the kernel the consumer is behind, so a commit
	// does not wake it (bpf_ringbuf_commit in kernel/bpf/ringbuf.c). An edge-triggered epoll
	// (EPOLLET) misses new records, and a level-triggered one always finds the ring readable
	// (ringbuf_map_poll_kern).
	Coalesce time.Duration

	// Timer is how often a sleeping wait checks the ring without a wakeup: producers that
	// commit with BPF_RB_NO_WAKEUP wake nobody, and a record discarded with that flag can
	// swallow the wakeup of the next. Zero means 100 ms, a negative value never.
	Timer time.Duration

	// BeforePublish, if set, is called before records are published as consumed. Make durable
	// in it what must survive the process. The records read up to then were whole, because the
	// ring is still this Reader's. An error leaves the records in the ring, ends the pass, and
	// is returned by the call that led to it or by [Reader.Err]. With BeforePublish set,
	// Close publishes nothing.
	BeforePublish func() error

	// Shared opens the ring without a claim, even if another opener has claimed it. By default
	// NewReader claims the ring, and fails with [ErrBusy] while another live opener has claimed
	// it. A claim excludes users of this package, in all processes, and nobody else: it is a
	// word in the consumer page, at offset 64, which the kernel ignores. It ends with Close,
	// when the process ends or calls execve(2), and, if a pass was never left (see
	// [Reader.Pass]), when the Reader is garbage-collected.
	//
	// A shared Reader resumes where another consumer stops. If both read at the same time, each
	// gets a part of the records, and some come to both, at most as many as a pass copies at a
	// time or as one of them has read and not published. Records are whole: passes yield copies.
	// Read publishes as soon as the ring is empty, and after a record longer than an eighth of
	// it, unless BeforePublish is set.
	Shared bool

	// Steal claims the ring even from a live holder. The robbed Reader publishes nothing more,
	// and its passes fail with [ErrBusy]. Records of the pass in which that happens may be
	// overwritten while its loop body reads them: a Reader that may be robbed must use results
	// only in BeforePublish, or after a pass that ended without an error.
	//
	// The new holder reads copies until it has published. If the ring was unclaimed, it reads
	// copies throughout: a consumer without claims, such as libbpf's, may read the ring too, and
	// each then gets a part of the records. Steal and Shared exclude each other.
	Steal bool

	// Mend moves the consumer position of a corrupt ring to the oldest intact record;
	// [Stats].Mended tells. With Shared, another consumer may resume at the old position.
	Mend bool
}

// defaultTimer is the interval of the slow timer.
const defaultTimer = 100 * time.Millisecond

func (o Options) timer() time.Duration {
	if o.Timer == 0 {
		return defaultTimer
	}
	return max(o.Timer, 0)
}
