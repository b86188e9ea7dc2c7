package conform

import (
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

// page is the size of a page and of most rings here.
var page = os.Getpagesize()

func ringSpec(size int) *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: uint32(size)}
}

// kernelRing is a ring with a consumer's view.
type kernelRing struct {
	*ring.Mapping
	t *T
	m *ebpf.Map
}

// ring creates a ring of one page.
func (t *T) ring() kernelRing { return t.consume(t.create(ringSpec(page))) }

func (t *T) consume(m *ebpf.Map) kernelRing {
	view, err := ring.Consume(m.FD(), uint64(m.MaxEntries()))
	t.must(err, "map ring")
	view.Acquire()
	t.cleanup(func() {
		view.Close()
		view.Release()
		view.Unmap()
	})
	return kernelRing{view, t, m}
}

// empty consumes all records.
func (r kernelRing) empty() { r.SetConsumerPos(r.ProducerPos()) }

// record ends the test unless a record of size bytes begins at pos, and returns its payload.
func (r kernelRing) record(pos ring.Pos, want ring.Header) []byte {
	if pos.Next(want.Len()) > r.ProducerPos() {
		r.t.differs("producer position %d, too low for a record at %d", r.ProducerPos(), pos)
	}
	equal(r.t, "header", r.Data().Header(pos), want)
	return r.Data().Payload(pos, want.Len())
}

// reserve reserves size bytes, and jumps to full if there is no room. R0 is the record.
func reserve(m *ebpf.Map, size int32, full string) code {
	return code{
		theMap(asm.R1, m), set(asm.R2, size), set(asm.R3, 0), asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, full),
	}
}

// submit commits the record in r with flags.
func submit(r asm.Register, flags int32) code {
	return code{mov(asm.R1, r), set(asm.R2, flags), asm.FnRingbufSubmit.Call()}
}

func discard(r asm.Register, flags int32) code {
	return code{mov(asm.R1, r), set(asm.R2, flags), asm.FnRingbufDiscard.Call()}
}

// oneRecord reserves size bytes, stores the first argument in the first 8, and commits. It returns
// 1 if there is no room.
func oneRecord(m *ebpf.Map, size int32, commit func(asm.Register, int32) code, flags int32) code {
	return program(
		reserve(m, size, "full"),
		mov(asm.R7, asm.R0), arg(asm.R1, 0), asm.StoreMem(asm.R7, 0, asm.R1, asm.DWord),
		commit(asm.R7, flags), ret(0),
		at("full", set(asm.R0, 1)), asm.Return(),
	)
}

// outputs copies bytes from memory, their number in the first argument and the flags in the second,
// and returns the result of bpf_ringbuf_output.
func outputs(m *ebpf.Map, from *ebpf.Map) code {
	return program(
		theMap(asm.R1, m), asm.LoadMapValue(asm.R2, from.FD(), 0), arg(asm.R3, 0),
		asm.JGT.Imm(asm.R3, int32(from.ValueSize()), "large"),
		arg(asm.R4, 1), asm.FnRingbufOutput.Call(), asm.Return(),
		at("large", set(asm.R0, -1000)), asm.Return(),
	)
}

// memory is an array of one value, filled with numbered bytes.
func (t *T) memory(size int) *ebpf.Map {
	m := t.create(&ebpf.MapSpec{Name: "memory", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1})
	b := make([]byte, size)
	for i := range b {
		b[i] = pattern(i)
	}
	t.must(m.Update(uint32(0), b, ebpf.UpdateAny), "fill memory")
	return m
}

// pattern is byte i of memory.
func pattern(i int) byte { return byte(i + i/256) }

// outputter returns a function that outputs a record of n bytes with flags, and returns the result
// of bpf_ringbuf_output.
func (t *T) outputter(m *ebpf.Map) func(n int, flags uint64) int32 {
	p := t.load(ebpf.RawTracepoint, outputs(m, t.memory(2*page)))
	return func(n int, flags uint64) int32 { return t.call(p, uint64(n), flags) }
}

// wakeups counts the wakeups of a sleeper on a map's descriptor.
type wakeups struct {
	t     *T
	epoll int
}

// sleeper waits for events on the map, edge-triggered: an event is a wakeup, not a state.
func (t *T) sleeper(m *ebpf.Map, events uint32) wakeups {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	t.must(err, "create epoll")
	t.cleanup(func() { unix.Close(fd) })
	t.must(unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, m.FD(), &unix.EpollEvent{Events: events | unix.EPOLLET}), "add map to epoll")
	w := wakeups{t, fd}
	w.count(0) // an earlier state is reported once
	return w
}

// Wakeups come through an irq_work on the CPU of the commit, before the system call that ran the
// program returns. Their absence takes a moment to establish.
const noWakeup = 20 // milliseconds

func (w wakeups) count(milliseconds int) int {
	for {
		n, err := unix.EpollWait(w.epoll, make([]unix.EpollEvent, 1), milliseconds)
		if err == unix.EINTR {
			continue
		}
		w.t.must(err, "wait")
		return n
	}
}

func (w wakeups) comes(after string) {
	if w.count(int(w.t.patience.Milliseconds())) == 0 {
		w.t.differs("no wakeup after %s", after)
	}
}

func (w wakeups) doesNotCome(after string) {
	if w.count(noWakeup) != 0 {
		w.t.differs("a wakeup after %s", after)
	}
}

// ready reports whether poll(2) returns the events.
func (t *T) ready(m *ebpf.Map, events int16) bool {
	fds := []unix.PollFd{{Fd: int32(m.FD()), Events: events}}
	n, err := unix.Poll(fds, 0)
	t.must(err, "poll")
	return n > 0 && fds[0].Revents&events != 0
}
