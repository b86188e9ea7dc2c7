package conform

import (
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	own "github.com/rbtool/rbtool/internal/syscall"
)

// Arenas lie at the start of a window of 4 GiB, where no library or heap of this
// process is.
const (
	window    = 1 << 32
	arenaBase = 0x1555 * window
)

const arenaSource = "kernel/bpf/arena.c, "

func arenaSpec(pages int, base uint64, flags uint32) *ebpf.MapSpec {
	return &ebpf.MapSpec{
		Name: "arena", Type: ebpf.Arena, MaxEntries: uint32(pages), Flags: unix.BPF_F_MMAPABLE | flags, MapExtra: base,
	}
}

// arena is one that is mapped into this process.
type arena struct {
	t    *T
	m    *ebpf.Map
	base uint64
	mem  unsafe.Pointer
}

// arena makes an arena and maps it.
func (t *T) arena(pages int, flags uint32) *arena {
	m := t.create(arenaSpec(pages, arenaBase, flags))
	return &arena{t, m, arenaBase, t.mapArena(m, arenaBase, pages)}
}

func (t *T) mapArena(m *ebpf.Map, base uint64, pages int) unsafe.Pointer {
	mem, err := t.k.mmapAt(m.FD(), uintptr(base), uintptr(pages*page), protReadWrite)
	t.must(err, "map arena at %#x", base)
	t.cleanup(func() { own.Munmap(mem, uintptr(pages*page)) })
	return mem
}

// addr is the user address of a page.
func (a *arena) addr(n int) uint64 { return a.base + uint64(n*page) }

// word is the first word of a page, in this process.
//
// SAFETY: the caller knows that the page is in the arena. It stays mapped until
// the test has ended.
func (a *arena) word(n int) *uint64 { return (*uint64)(unsafe.Add(a.mem, n*page)) }

// touch has the kernel read the first word of a page, which gives an errno where
// an access of this process would be a SIGSEGV.
func (a *arena) touch(n int) error {
	var pipe [2]int
	a.t.must(unix.Pipe2(pipe[:], unix.O_CLOEXEC), "make pipe")
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	_, _, errno := unix.Syscall(unix.SYS_WRITE, uintptr(pipe[1]), uintptr(unsafe.Pointer(a.word(n))), 8)
	if errno != 0 {
		return errno
	}
	return nil
}

// toKernel converts a user address of the program's arena into one that the
// program can use: an addr_space_cast from address space 1 to 0.
func toKernel(r asm.Register) asm.Instruction { return cast(r, 1) }

// toUser is the opposite.
func toUser(r asm.Register) asm.Instruction { return cast(r, 1<<16) }

func cast(r asm.Register, spaces int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.Mov.Op(asm.RegSource), Dst: r, Src: r, Offset: 1, Constant: spaces}
}

// peeker returns a function that has a program read the word at an address.
func (a *arena) peeker() func(addr uint64) uint64 {
	out := a.t.output()
	p := a.t.load(rawTracepoint, program(
		theMap(asm.R1, a.m), arg(asm.R7, 0), toKernel(asm.R7), asm.LoadMem(asm.R8, asm.R7, 0, asm.DWord),
		out.put(0, asm.R8, asm.R1), ret(0),
	))
	return func(addr uint64) uint64 {
		a.t.call(p, addr)
		return out.words()[0]
	}
}

// poker returns a function that has a program write the word at an address.
func (a *arena) poker() func(addr, value uint64) {
	p := a.t.load(rawTracepoint, program(
		theMap(asm.R1, a.m), arg(asm.R7, 0), arg(asm.R8, 1), toKernel(asm.R7),
		asm.StoreMem(asm.R7, 0, asm.R8, asm.DWord), ret(0),
	))
	return func(addr, value uint64) { a.t.call(p, addr, value) }
}

// allocates is a program that calls bpf_arena_alloc_pages for the address and the
// number of pages in its arguments.
func (a *arena) allocates(out output) code {
	return program(
		theMap(asm.R1, a.m), arg(asm.R2, 0), arg(asm.R3, 1), set(asm.R4, -1), set(asm.R5, 0),
		a.t.kfunc("bpf_arena_alloc_pages"), out.put(0, asm.R0, asm.R1), ret(0),
	)
}

// allocator returns a function that has a sleepable program allocate pages.
func (a *arena) allocator() func(addr uint64, pages int) uint64 {
	out := a.t.output()
	p := a.t.load(ebpf.Syscall, a.allocates(out))
	return func(addr uint64, pages int) uint64 {
		a.t.call(p, addr, uint64(pages))
		return out.words()[0]
	}
}

// freer returns a function that has a sleepable program free pages.
func (a *arena) freer() func(addr uint64, pages int) {
	p := a.t.load(ebpf.Syscall, program(
		theMap(asm.R1, a.m), arg(asm.R2, 0), arg(asm.R3, 1), a.t.kfunc("bpf_arena_free_pages"), ret(0),
	))
	return func(addr uint64, pages int) { a.t.call(p, addr, uint64(pages)) }
}
