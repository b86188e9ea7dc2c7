package consumer

import "time"

// Options change how a Reader or Group waits, when it publishes, and how it treats other consumers.
// The zero value adapts to the rate of records and claims the ring. In a Group they apply to each
// ring.
type Options struct {
	// BusyPoll is how long a wait polls the ring, using a CPU, before it sleeps. A record that is
	// committed in this time is read after about 1 µs; waking a sleeping Reader takes tens of µs.
	// Zero disables polling.
	BusyPoll time.Duration

	// Coalesce trades latency for throughput. Zero, without BusyPoll, does so only in a flood: a wait
	// pauses once for 50 µs before it sleeps if records came at 160,000 a second or more since the
	// previous wait, and the ring has room for many more of them. A record that comes after a calm is
	// read as soon as without pauses. A negative value disables pauses.
	//
	// If Coalesce is positive, each wait that follows records pauses once for this long. During the
	// pause the space of the last record stays unpublished, so the kernel sees that the consumer is
	// behind and sends no wakeup. A pass leaves that space unpublished until Wait publishes it.
	// Do not combine it with an epoll instance of your own on the map: the consumer appears to be
	// behind, so a commit does not wake it (bpf_ringbuf_commit in kernel/bpf/ringbuf.c). An
	// edge-triggered epoll (EPOLLET) then misses new records, and a level-triggered epoll always
	// finds the ring readable (ringbuf_map_poll_kern).
	Coalesce time.Duration

	// Timer is how often a sleeping wait checks the ring without a wakeup. It finds records
	// committed with BPF_RB_NO_WAKEUP; a record discarded with that flag can also suppress the
	// wakeup of the next record. Zero means 100 ms, a negative value never.
	Timer time.Duration

	// BeforePublish, if set, is called on the reading goroutine before records are published as
	// consumed. Use it to make results durable that must survive the process. It must not read from
	// the Reader. When it is called, this Reader still holds its claim, so no record read so far
	// was overwritten while it was read.
	//
	// If it returns an error, the records stay in the ring, the pass ends, and the call that
	// publishes or [Reader.Err] returns an error that wraps it. Later passes continue behind these
	// records and publish them too, once BeforePublish succeeds. With BeforePublish set, Close
	// publishes nothing: a successor reads the unpublished records again.
	BeforePublish func() error

	// Shared opens the ring without a claim, even if another opener has claimed it. By default
	// NewReader claims the ring, and fails with [ErrBusy] while another live opener has claimed it.
	// A claim excludes only users of this package, in all processes: it is a word in the consumer
	// page, at offset 64, which the kernel ignores. The claim ends with Close; when the process
	// ends or calls execve(2); and, if the Reader was not closed or the loop body of a pass never
	// returned (see [Reader.Pass]), when the Reader is garbage-collected.
	//
	// A shared Reader resumes where another consumer stops. If both read at the same time, each
	// gets a part of the records, and some records reach both: at most those that a pass copies at
	// a time, or those that one of the two has read and not published. Passes yield copies, so that
	// the other consumer cannot cause a record to be overwritten while it is read. Read publishes
	// as soon as the ring is empty, and after a record longer than an eighth of the ring, unless
	// BeforePublish is set.
	Shared bool

	// Steal claims the ring even if a live opener has claimed it. The robbed Reader publishes
	// nothing more, and its passes fail with [ErrBusy]. If the ring is stolen during a pass,
	// records of that pass may be overwritten while the loop body reads them. So a Reader that may
	// be robbed must use results only in BeforePublish, or after a pass that ended without an
	// error.
	//
	// The passes of the new holder yield copies until it has published. If the ring was unclaimed,
	// they always yield copies, because a consumer without a claim, such as libbpf, may read the
	// ring too. Each of the two then gets a part of the records. Steal and Shared exclude each
	// other.
	Steal bool

	// Mend makes NewReader repair a corrupt ring: it moves the consumer position to the beginning
	// of the record that contains it, or else of the oldest intact record. [Stats].Mended is then
	// the fault. With Shared, another consumer may continue at the old position.
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
