package conform

import (
	"encoding/binary"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
)

var _ = register(UserRingBuf,
	Rule{
		Name:      "size",
		Statement: "A user ring whose size is not a power of two, or is less than a page, is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc (Linux 6.1)",
		check: func(t *T) {
			t.createFails("3 pages", userSpec(3*page), unix.EINVAL)
			t.createFails("half a page", userSpec(page/2), unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-key-no-value",
		Statement: "A user ring with a key size or a value size is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc (Linux 6.1)",
		check: func(t *T) {
			withKey, withValue := userSpec(page), userSpec(page)
			withKey.KeySize, withValue.ValueSize = 4, 4
			t.createFails("a key size", withKey, unix.EINVAL)
			t.createFails("a value size", withValue, unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-overwrite",
		Statement: "A user ring has no overwrite mode: BPF_F_RB_OVERWRITE is refused with EINVAL.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_alloc",
		check: func(t *T) {
			spec := userSpec(page)
			spec.Flags = mapflag.RBOverwrite
			t.createFails("BPF_F_RB_OVERWRITE", spec, unix.EINVAL)
		},
	},
	Rule{
		Name:      "map-consumer-read-only",
		Statement: "The consumer page of a user ring can be mapped for reading, and is refused with EPERM for writing.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_mmap_user (Linux 6.1)",
		check: func(t *T) {
			m := t.create(userSpec(page))
			t.mmap(m, 0, page, protRead)
			t.mmapFails("consumer page writable", m, 0, page, protReadWrite, unix.MAP_SHARED, unix.EPERM)
			t.mmapFails("everything writable", m, 0, 4*page, protReadWrite, unix.MAP_SHARED, unix.EPERM)
		},
	},
	Rule{
		Name:      "map-rest-writable",
		Statement: "The producer page and the data, twice, can be mapped writable, and not a page more.",
		Source:    "kernel/bpf/ringbuf.c, ringbuf_map_mmap_user (Linux 6.1)",
		check: func(t *T) {
			m := t.create(userSpec(page))
			mem := t.mmap(m, page, 3*page, protReadWrite)
			mem[page+7] = 77
			equal(t, "byte in the second view of the data", mem[2*page+7], 77)
			t.mmapFails("a page more", m, page, 4*page, protReadWrite, unix.MAP_SHARED, unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-elements",
		Statement: "Lookup of a user ring from user space fails with ENOTSUPP.",
		Source:    "kernel/bpf/ringbuf.c, user_ringbuf_map_ops (Linux 6.1)",
		check: func(t *T) {
			var value uint64
			_, err := t.element(unix.BPF_MAP_LOOKUP_ELEM, t.create(userSpec(page)), nil, unsafe.Pointer(&value), 0)
			t.fails("lookup", err, enotsupp)
		},
	},
	Rule{
		Name:      "each-to-its-own",
		Statement: "The verifier refuses a drain of a kernel ring, and a reservation in a user ring.",
		Source:    verifier + "check_map_func_compatibility (Linux 6.1)",
		check: func(t *T) {
			user, out := t.create(userSpec(page)), t.output()
			t.refused(rawTracepoint, drains(t.create(ringSpec(page)), out, ret(0)), "cannot pass map_type 27 into func bpf_user_ringbuf_drain")
			t.refused(rawTracepoint, program(
				reserve(user, 16, "full"), submit(asm.R0, 0), ret(0), at("full", set(asm.R0, 1)), asm.Return(),
			), "cannot pass map_type 31 into func bpf_ringbuf_reserve")
		},
	},
)

func userSpec(size int) *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "user_ring", Type: ebpf.UserRingbuf, MaxEntries: uint32(size)}
}

// userRing is a user ring that is mapped as a producer maps it. Its methods can also do what a correct
// producer does not do.
type userRing struct {
	t              *T
	m              *ebpf.Map
	consumer, rest []byte // page 0, and the producer page with the data
	pos            uint64
}

func (t *T) userRing(size int) *userRing {
	m := t.create(userSpec(size))
	return &userRing{t: t, m: m,
		consumer: t.mmap(m, 0, page, protRead),
		rest:     t.mmap(m, page, page+2*size, protReadWrite),
	}
}

// word returns the position at the start of a page.
//
// SAFETY: the pages stay mapped until the test has ended.
func word(mem []byte) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem)))
}

func (u *userRing) consumed() uint64 { return word(u.consumer).Load() }

// publish sets producer_pos.
func (u *userRing) publish(pos uint64) { word(u.rest).Store(pos) }

// header writes the header of the sample at pos.
func (u *userRing) header(pos uint64, h ring.Header) {
	offset := uint64(page) + pos%uint64(u.m.MaxEntries())
	binary.NativeEndian.PutUint64(u.rest[offset:], uint64(h))
}

// put appends a sample with the header h and value in its first 8 bytes, publishes it, and returns
// its position.
func (u *userRing) put(h ring.Header, value uint64) (pos uint64) {
	pos = u.pos
	u.header(pos, h)
	if h.Len() >= 8 {
		binary.NativeEndian.PutUint64(u.rest[uint64(page)+pos%uint64(u.m.MaxEntries())+ring.HeaderSize:], value)
	}
	u.pos += ring.Span(h.Len())
	u.publish(u.pos)
	return pos
}

// Words of the output of drainer's programs.
const (
	drainResult = iota // what bpf_user_ringbuf_drain returned
	drainCalls         // number of calls of the callback
	drainSum           // sum of the first 8 bytes of each sample
	drainExtra         // another result, which depends on the callback
)

// drains returns a program that drains the user ring m, with its first argument as flags. Its callback is
// body, in which R1 and R6 are the sample, a dynptr.
func drains(m *ebpf.Map, out output, body ...any) code {
	pointer := &btf.Pointer{Target: &btf.Void{}}
	main := function("conform", program(
		theMap(asm.R1, m), callback(asm.R2, "sample"), set(asm.R3, 0), arg(asm.R4, 0),
		asm.FnUserRingbufDrain.Call(), out.put(drainResult, asm.R0, asm.R1), ret(0),
	), btf.FuncParam{Name: "ctx", Type: pointer})
	sample := function("sample", program(body...),
		btf.FuncParam{Name: "sample", Type: pointer}, btf.FuncParam{Name: "ctx", Type: pointer})
	return join(main, sample)
}

// count returns code that counts the callback's calls.
func count(out output) code {
	return code{
		out.addr(asm.R1, drainCalls), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.Add.Imm(asm.R2, 1), asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
	}
}

// sum returns code that adds up the first 8 bytes of the samples.
func sum(out output) code {
	return code{
		asm.StoreImm(asm.R10, -8, 0, asm.Word), asm.StoreImm(asm.R10, -4, 0, asm.Word),
		mov(asm.R1, asm.R10), asm.Add.Imm(asm.R1, -8), set(asm.R2, 8), mov(asm.R3, asm.R6),
		set(asm.R4, 0), set(asm.R5, 0), asm.FnDynptrRead.Call(),
		asm.LoadMem(asm.R3, asm.R10, -8, asm.DWord),
		out.addr(asm.R1, drainSum), asm.LoadMem(asm.R2, asm.R1, 0, asm.DWord),
		asm.Add.Reg(asm.R2, asm.R3), asm.StoreMem(asm.R1, 0, asm.R2, asm.DWord),
	}
}

// drainer is a loaded program that drains a user ring.
type drainer struct {
	t   *T
	p   *ebpf.Program
	out output
}

// drainer loads a program that drains u. Its callback counts the samples, adds up their first 8 bytes, and
// returns callbackReturns.
func (u *userRing) drainer(callbackReturns int32) drainer {
	out := u.t.output()
	return u.drainerWith(out, count(out), sum(out), ret(callbackReturns))
}

func (u *userRing) drainerWith(out output, body ...any) drainer {
	return drainer{u.t, u.t.load(rawTracepoint, drains(u.m, out, body...)), out}
}

// drain runs the program, and returns the words of its output.
func (d drainer) drain(flags uint64) []uint64 {
	d.t.must(d.out.m.Put(uint32(0), make([]byte, 8*outputWords)), "clear output")
	d.t.call(d.p, flags)
	return d.out.words()
}

// result runs the program, and returns only the result of bpf_user_ringbuf_drain.
func (d drainer) result(flags uint64) int32 { return int32(d.drain(flags)[drainResult]) }
