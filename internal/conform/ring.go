package conform

import (
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
)

// page is the size of a page in bytes, and of most rings in this package.
var page = os.Getpagesize()

// quarter is the size in bytes of a record of which a ring of one page holds four.
var quarter = int32(page/4 - 24)

func ringSpec(size int) *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: uint32(size)}
}

// kernelRing is a RINGBUF that is mapped as a consumer maps it.
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

// record ends the test unless a record with the header want begins at pos, and returns its payload.
func (r kernelRing) record(pos ring.Pos, want ring.Header) []byte {
	if pos.Next(want.Len()) > r.ProducerPos() {
		r.t.differs("producer position %d is before the end of a record at %d", r.ProducerPos(), pos)
	}
	equal(r.t, "header", r.Data().Header(pos), want)
	return r.Data().Payload(pos, want.Len())
}

// reserve returns code that reserves size bytes. R0 is then the record; if the reservation failed, the code
// jumps to full.
func reserve(m *ebpf.Map, size int32, full string) code {
	return code{
		theMap(asm.R1, m), set(asm.R2, size), set(asm.R3, 0), asm.FnRingbufReserve.Call(),
		asm.JEq.Imm(asm.R0, 0, full),
	}
}

// submit returns code that submits the record in r with flags.
func submit(r asm.Register, flags int32) code {
	return code{mov(asm.R1, r), set(asm.R2, flags), asm.FnRingbufSubmit.Call()}
}

func discard(r asm.Register, flags int32) code {
	return code{mov(asm.R1, r), set(asm.R2, flags), asm.FnRingbufDiscard.Call()}
}

// oneRecord returns a program that reserves size bytes, stores its first argument in the first 8, and
// commits the record. The program returns 1 if the reservation failed.
func oneRecord(m *ebpf.Map, size int32, commit func(asm.Register, int32) code, flags int32) code {
	return program(
		reserve(m, size, "full"),
		mov(asm.R7, asm.R0), arg(asm.R1, 0), asm.StoreMem(asm.R7, 0, asm.R1, asm.DWord),
		commit(asm.R7, flags), ret(0),
		at("full", set(asm.R0, 1)), asm.Return(),
	)
}

// outputs returns a program that calls bpf_ringbuf_output with bytes of the array from, and returns the
// result. Its arguments are the number of bytes and the flags.
func outputs(m *ebpf.Map, from *ebpf.Map) code {
	return program(
		theMap(asm.R1, m), asm.LoadMapValue(asm.R2, from.FD(), 0), arg(asm.R3, 0),
		asm.JGT.Imm(asm.R3, int32(from.ValueSize()), "large"),
		arg(asm.R4, 1), asm.FnRingbufOutput.Call(), asm.Return(),
		at("large", set(asm.R0, -1000)), asm.Return(),
	)
}

// memory creates an array with one value of size bytes, filled with pattern.
func (t *T) memory(size int) *ebpf.Map {
	m := t.create(&ebpf.MapSpec{Name: "memory", Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: 1})
	b := make([]byte, size)
	for i := range b {
		b[i] = pattern(i)
	}
	t.must(m.Update(uint32(0), b, ebpf.UpdateAny), "fill memory")
	return m
}

// pattern returns byte i of the value that memory makes.
func pattern(i int) byte { return byte(i + i/256) }

// outputter returns a function that outputs a record of n bytes with flags, and returns the result
// of bpf_ringbuf_output.
func (t *T) outputter(m *ebpf.Map) func(n int, flags uint64) int32 {
	p := t.load(ebpf.RawTracepoint, outputs(m, t.memory(2*page)))
	return func(n int, flags uint64) int32 { return t.call(p, uint64(n), flags) }
}

// wakeups counts the wakeups of an epoll instance that waits for a map.
type wakeups struct {
	t     *T
	epoll int
}

// sleeper waits for events on the map. It is edge-triggered, so each event is a wakeup, not a state.
func (t *T) sleeper(m *ebpf.Map, events uint32) wakeups {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	t.must(err, "create epoll")
	t.cleanup(func() { unix.Close(fd) })
	t.must(unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, m.FD(), &unix.EpollEvent{Events: events | unix.EPOLLET}), "add map to epoll")
	w := wakeups{t, fd}
	w.count(0) // discard the event that reports the state at this moment
	return w
}

// noWakeup is the time to wait before concluding that there is no wakeup. The kernel wakes from an irq_work
// on the CPU of the commit, before the system call that ran the program returns.
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

// ready reports whether poll(2) reports any of the events for the map.
func (t *T) ready(m *ebpf.Map, events int16) bool {
	fds := []unix.PollFd{{Fd: int32(m.FD()), Events: events}}
	n, err := unix.Poll(fds, 0)
	t.must(err, "poll")
	return n > 0 && fds[0].Revents&events != 0
}
