package conform

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/mapflag"
	own "github.com/rbtool/rbtool/internal/syscall"
)

const arenaCreate = arenaSource + "arena_map_alloc (Linux 6.9)"
const arenaUnmapped = arenaSource + "arena_get_unmapped_area (Linux 6.9)"

// arenaOneMapping names the releases with commit 4fddde2a732d, which two rules are about. Kernels without it
// kept a pointer to an arena's mapping after munmap(2). Maintained older series got the fix too.
const arenaOneMapping = " (Linux 7.1; 7.0.7, 6.18.30, 6.12.88)"

var _ = register(Arena,
	Rule{
		Name:      "mmapable",
		Statement: "An arena without BPF_F_MMAPABLE is refused with EINVAL.",
		Source:    arenaCreate,
		check: func(t *T) {
			spec := arenaSpec(1, 0, 0)
			spec.Flags = 0
			t.createFails("no BPF_F_MMAPABLE", spec, unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-key-no-value",
		Statement: "An arena with a key size or a value size is refused with EINVAL.",
		Source:    arenaCreate,
		check: func(t *T) {
			withKey, withValue := arenaSpec(1, 0, 0), arenaSpec(1, 0, 0)
			withKey.KeySize, withValue.ValueSize = 4, 4
			t.createFails("a key size", withKey, unix.EINVAL)
			t.createFails("a value size", withValue, unix.EINVAL)
		},
	},
	Rule{
		Name:      "size",
		Statement: "An arena smaller than a page is refused with EINVAL, one larger than 4 GiB with E2BIG.",
		Source:    arenaCreate,
		check: func(t *T) {
			t.createFails("no pages", arenaSpec(0, 0, 0), unix.EINVAL)
			t.createFails("a page more than 4 GiB", arenaSpec(window/page+1, 0, 0), unix.E2BIG)
			t.create(arenaSpec(window/page, 0, 0))
		},
	},
	Rule{
		Name:      "address-aligned",
		Statement: "A map_extra that is not the address of a page is refused with EINVAL.",
		Source:    arenaCreate,
		check: func(t *T) {
			t.createFails("map_extra inside a page", arenaSpec(1, arenaBase+8, 0), unix.EINVAL)
		},
	},
	Rule{
		Name:      "address-window",
		Statement: "An arena whose addresses would cross a multiple of 4 GiB is refused with ERANGE.",
		Source:    arenaCreate,
		check: func(t *T) {
			t.createFails("map_extra a page before the window's end", arenaSpec(2, arenaBase+window-uint64(page), 0), unix.ERANGE)
			t.create(arenaSpec(1, arenaBase+window-uint64(page), 0))
		},
	},
	Rule{
		Name:      "flags",
		Statement: "An arena accepts BPF_F_SEGV_ON_FAULT and BPF_F_NO_USER_CONV, and is refused with EINVAL for another map type's flag.",
		Source:    arenaCreate,
		check: func(t *T) {
			m := t.create(arenaSpec(1, 0, mapflag.SegvOnFault|mapflag.NoUserConv))
			equal(t, "flags", t.flags(m), uint32(unix.BPF_F_MMAPABLE|mapflag.SegvOnFault|mapflag.NoUserConv))
			t.createFails("BPF_F_NO_PREALLOC", arenaSpec(1, 0, unix.BPF_F_NO_PREALLOC), unix.EINVAL)
		},
	},
	Rule{
		Name:      "no-elements",
		Statement: "Update, delete and get-next-key of an arena from user space fail with EOPNOTSUPP, lookup with EINVAL.",
		Source:    arenaSource + "arena_map_ops (Linux 6.9)",
		check: func(t *T) {
			m := t.create(arenaSpec(1, 0, 0))
			var value uint64
			at := unsafe.Pointer(&value)
			_, err := t.element(unix.BPF_MAP_LOOKUP_ELEM, m, nil, at, 0)
			t.fails("lookup", err, unix.EINVAL)
			_, err = t.element(unix.BPF_MAP_UPDATE_ELEM, m, nil, at, 0)
			t.fails("update", err, unix.EOPNOTSUPP)
			_, err = t.element(unix.BPF_MAP_DELETE_ELEM, m, nil, nil, 0)
			t.fails("delete", err, unix.EOPNOTSUPP)
			_, err = t.element(unix.BPF_MAP_GET_NEXT_KEY, m, nil, at, 0)
			t.fails("get next key", err, unix.EOPNOTSUPP)
		},
	},
	Rule{
		Name:      "map-at-its-address",
		Statement: "An arena with map_extra can be mapped at that address only: EINVAL elsewhere.",
		Source:    arenaUnmapped,
		check: func(t *T) {
			m := t.create(arenaSpec(2, arenaBase, 0))
			t.mapArenaFails(m, arenaBase+window, 2*page, unix.EINVAL)
			t.mapArena(m, arenaBase, 2)
		},
	},
	Rule{
		Name:      "map-whole",
		Statement: "An arena can be mapped only as a whole: EINVAL for less, E2BIG for more.",
		Source:    arenaUnmapped,
		check: func(t *T) {
			m := t.create(arenaSpec(2, arenaBase, 0))
			t.mapArenaFails(m, arenaBase, page, unix.EINVAL)
			t.mapArenaFails(m, arenaBase, 3*page, unix.E2BIG)
			t.mapArena(m, arenaBase, 2)
		},
	},
	Rule{
		Name:      "map-first-decides",
		Statement: "An arena without map_extra keeps the address of its first mapping, even after munmap(2).",
		Source:    arenaSource + "arena_map_mmap, arena_get_unmapped_area (Linux 6.9)",
		check: func(t *T) {
			m := t.create(arenaSpec(1, 0, 0))
			first, err := t.k.mmapAt(m.FD(), arenaBase, uintptr(page), protReadWrite)
			t.must(err, "map arena")
			t.must(own.Munmap(first, uintptr(page)), "unmap arena")
			t.mapArenaFails(m, arenaBase+window, page, unix.EINVAL)
			t.mapArena(m, arenaBase, 1)
		},
	},
	Rule{
		Name:      "map-not-split",
		Statement: "A mapping of an arena cannot be unmapped or protected in parts: EINVAL.",
		Source:    arenaSource + "arena_vm_may_split" + arenaOneMapping,
		check: func(t *T) {
			a := t.arena(3, 0)
			_, _, errno := unix.Syscall(unix.SYS_MPROTECT, uintptr(a.addr(1)), uintptr(page), unix.PROT_READ)
			_, _, errno2 := unix.Syscall(unix.SYS_MUNMAP, uintptr(a.addr(1)), uintptr(page), 0)
			if errno == 0 && errno2 == 0 {
				// The mapping now has two parts. The cleanup unmaps both.
				t.no("a page in the middle can be protected and unmapped")
			}
			t.fails("mprotect of a part", error(errno), unix.EINVAL)
			t.fails("munmap of a part", error(errno2), unix.EINVAL)
		},
	},
	Rule{
		Name:      "map-not-inherited",
		Statement: "A child of fork(2) does not inherit the mapping of an arena.",
		Source:    arenaSource + "arena_map_mmap, VM_DONTCOPY" + arenaOneMapping,
		check: func(t *T) {
			t.arena(1, 0)
			flags := vmFlags(t, arenaBase)
			equal(t, "the mapping's VmFlags have de, do not expand", strings.Contains(flags, " de "), true)
			if !strings.Contains(flags, " dc ") {
				t.no("the mapping's VmFlags lack dc (do not copy on fork): the child inherits it")
			}
		},
	},
	Rule{
		Name:      "memory-accounted",
		Statement: "The memlock in an arena's fdinfo counts the arena's allocated pages.",
		Source:    arenaSource + "arena_map_mem_usage (Linux 7.3)",
		check: func(t *T) {
			a := t.arena(16, 0)
			before := memlock(t, a.m)
			for i := range 16 {
				*a.word(i) = 1
			}
			after := memlock(t, a.m)
			if after == 0 {
				t.no("memlock is 0, however many pages are allocated")
			}
			equal(t, "growth with 16 pages", after-before, uint64(16*page))
		},
	},
)

func (t *T) mapArenaFails(m *ebpf.Map, base uint64, length int, want unix.Errno) {
	mem, err := t.k.mmapAt(m.FD(), uintptr(base), uintptr(length), protReadWrite)
	if err == nil {
		t.cleanup(func() { own.Munmap(mem, uintptr(length)) })
	}
	t.fails(fmt.Sprintf("map %d bytes at %#x", length, base), err, want)
}

// vmFlags returns the flags in the VmFlags line of /proc/self/smaps for the mapping at an address.
func vmFlags(t *T, addr uint64) string {
	smaps, err := os.ReadFile("/proc/self/smaps")
	t.must(err, "read mappings")
	_, rest, found := bytes.Cut(smaps, fmt.Appendf(nil, "%x-", addr))
	if !found {
		t.differs("no mapping at %#x", addr)
	}
	_, rest, _ = bytes.Cut(rest, []byte("VmFlags:"))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(line) + " "
}

// memlock returns the bytes of memory that the kernel reports for a map in fdinfo.
func memlock(t *T, m *ebpf.Map) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
	t.must(err, "read fdinfo")
	_, rest, _ := strings.Cut(string(text), "memlock:")
	var n uint64
	_, err = fmt.Sscan(rest, &n)
	t.must(err, "parse memlock")
	return n
}

// Arenas are mapped at arenaBase, the start of a window of 4 GiB that no library or heap of this process uses.
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

// arena is an arena that is mapped into this process.
type arena struct {
	t    *T
	m    *ebpf.Map
	base uint64
	mem  unsafe.Pointer
}

// arena creates an arena and maps it.
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

// addr returns the user address of a page.
func (a *arena) addr(n int) uint64 { return a.base + uint64(n*page) }

// word returns the address of the first word of a page.
//
// SAFETY: the caller passes a page of the arena, which stays mapped until the end of the test.
func (a *arena) word(n int) *uint64 { return (*uint64)(unsafe.Add(a.mem, n*page)) }

// touch makes the kernel read the first word of a page. If an access by this process would raise SIGSEGV,
// touch returns the errno of the system call.
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

// toKernel returns an addr_space_cast from address space 1 to 0: it converts a user address in the program's
// arena to an address that the program can access.
func toKernel(r asm.Register) asm.Instruction { return cast(r, 1) }

// toUser returns the reverse of toKernel, an addr_space_cast from address space 0 to 1.
func toUser(r asm.Register) asm.Instruction { return cast(r, 1<<16) }

func cast(r asm.Register, spaces int64) asm.Instruction {
	return asm.Instruction{OpCode: asm.Mov.Op(asm.RegSource), Dst: r, Src: r, Offset: 1, Constant: spaces}
}

// peeker returns a function that runs a program which reads the word at a user address.
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

// poker returns a function that runs a program which writes the word at a user address.
func (a *arena) poker() func(addr, value uint64) {
	p := a.t.load(rawTracepoint, program(
		theMap(asm.R1, a.m), arg(asm.R7, 0), arg(asm.R8, 1), toKernel(asm.R7),
		asm.StoreMem(asm.R7, 0, asm.R8, asm.DWord), ret(0),
	))
	return func(addr, value uint64) { a.t.call(p, addr, value) }
}

// allocates returns a program that calls bpf_arena_alloc_pages. The program's arguments are the address and
// the number of pages.
func (a *arena) allocates(out output) code {
	return program(
		theMap(asm.R1, a.m), arg(asm.R2, 0), arg(asm.R3, 1), set(asm.R4, -1), set(asm.R5, 0),
		a.t.kfunc("bpf_arena_alloc_pages"), out.put(0, asm.R0, asm.R1), ret(0),
	)
}

// allocator returns a function that runs a sleepable program which allocates pages.
func (a *arena) allocator() func(addr uint64, pages int) uint64 {
	out := a.t.output()
	p := a.t.load(ebpf.Syscall, a.allocates(out))
	return func(addr uint64, pages int) uint64 {
		a.t.call(p, addr, uint64(pages))
		return out.words()[0]
	}
}

// freer returns a function that runs a sleepable program which frees pages.
func (a *arena) freer() func(addr uint64, pages int) {
	p := a.t.load(ebpf.Syscall, program(
		theMap(asm.R1, a.m), arg(asm.R2, 0), arg(asm.R3, 1), a.t.kfunc("bpf_arena_free_pages"), ret(0),
	))
	return func(addr uint64, pages int) { a.t.call(p, addr, uint64(pages)) }
}
