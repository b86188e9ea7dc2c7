package arena_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	arenatest.Main(m, map[string]arenatest.Helper{"first-word": firstWord})
}

// freeBase returns the address of an unused window.
func freeBase(tb testing.TB) uint64 {
	tb.Helper()
	base, err := arenamem.FreeWindow()
	if err != nil {
		tb.Fatal(err)
	}
	return base
}

// The kernel's rules for new arenas, without the checks of Create.
func TestKernelCreationRules(t *testing.T) {
	arenatest.New(t, arena.Options{}) // skips the test if the kernel has no arenas
	base := freeBase(t)
	pages := uint32(arena.MaxSize / arenamem.PageSize)
	tests := []struct {
		rule string
		spec ebpf.MapSpec
		want error
	}{
		{"the flag BPF_F_MMAPABLE is needed", ebpf.MapSpec{MaxEntries: 1}, unix.EINVAL},
		{"flags of other maps are refused", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE | unix.BPF_F_NO_PREALLOC}, unix.EINVAL},
		{"both flags of arenas are accepted", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE | mapflag.SegvOnFault | mapflag.NoUserConv}, nil},
		{"an arena has no keys", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE, KeySize: 4}, unix.EINVAL},
		{"an arena has no values", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE, ValueSize: 4}, unix.EINVAL},
		{"an arena has pages", ebpf.MapSpec{Flags: unix.BPF_F_MMAPABLE}, unix.EINVAL},
		{"the address is a multiple of the page size", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE, MapExtra: base + 8}, unix.EINVAL},
		{"4 GiB are allowed", ebpf.MapSpec{MaxEntries: pages, Flags: unix.BPF_F_MMAPABLE, MapExtra: base}, nil},
		{"4 GiB and a page are too much", ebpf.MapSpec{MaxEntries: pages + 1, Flags: unix.BPF_F_MMAPABLE}, unix.E2BIG},
		{"an arena may end at the end of a window", ebpf.MapSpec{MaxEntries: 2, Flags: unix.BPF_F_MMAPABLE, MapExtra: base + arenamem.Window - 2*arenamem.PageSize}, nil},
		{"an arena may not cross the end of a window", ebpf.MapSpec{MaxEntries: 3, Flags: unix.BPF_F_MMAPABLE, MapExtra: base + arenamem.Window - 2*arenamem.PageSize}, unix.ERANGE},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			tt.spec.Type = ebpf.Arena
			m, err := ebpf.NewMap(&tt.spec)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			m.Close()
		})
	}
}

func TestCreateRefused(t *testing.T) {
	tests := []struct {
		rule string
		opts arena.Options
		want error
		says string
	}{
		{"no size", arena.Options{}, unix.EINVAL, "multiple of the page size"},
		{"half a page", arena.Options{Size: arenamem.PageSize / 2}, unix.EINVAL, "multiple of the page size"},
		{"more than 4 GiB", arena.Options{Size: arena.MaxSize + arenamem.PageSize}, unix.E2BIG, "more than 4 GiB"},
		{"an odd address", arena.Options{Size: arenamem.PageSize, Base: arenamem.FirstWindow + 8}, unix.EINVAL, "multiple of the page size"},
		{"across windows", arena.Options{Size: 2 * arenamem.PageSize, Base: arenamem.FirstWindow + arenamem.Window - arenamem.PageSize}, unix.ERANGE, "multiple of 4 GiB"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := arena.Create(tt.opts)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if strings.Contains(err.Error(), tt.want.Error()) {
				t.Errorf("%q has the errno's text beside the rule", err)
			}
		})
	}
}

func TestLargestArena(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{Size: arena.MaxSize})
	if a.Size() != arena.MaxSize {
		t.Fatalf("size %d", a.Size())
	}
	last, err := arena.Ptr[byte](a.Base() + arena.MaxSize - 1).In(a)
	if err != nil {
		t.Fatal(err)
	}
	*last = 7
	buf := make([]byte, 8)
	if err := a.Peek(arena.Ptr[byte](a.Base()+arena.MaxSize-8), buf); err != nil || buf[7] != 7 {
		t.Errorf("a program sees %d at the end, %v", buf, err)
	}
	if _, err := (arena.Ptr[byte](a.Base() + arena.MaxSize)).In(a); !errors.Is(err, arena.ErrPointer) {
		t.Errorf("one byte further: %v", err)
	}
}

func TestSeveralArenasInOneProcess(t *testing.T) {
	testenv.NoLeaks(t)
	for i := range byte(8) {
		a := arenatest.New(t, arena.Options{Size: arena.MaxSize / 2})
		p, err := arena.Ptr[byte](a.Base()).In(a)
		if err != nil {
			t.Fatal(err)
		}
		if *p != 0 {
			t.Errorf("arena %d is not empty", i)
		}
		*p = i + 1
	}
}

// firstWord prints the arena's address and first word, and increments the word.
func firstWord(a *arena.Arena, in *bufio.Reader) error {
	p, err := arena.Ptr[uint64](a.Base()).In(a)
	if err != nil {
		return err
	}
	fmt.Printf("%#x %d\n", a.Base(), *p)
	*p++
	_, err = in.ReadByte()
	if err == io.EOF {
		err = nil
	}
	return err
}

func TestSecondProcessSeesTheSameBytes(t *testing.T) {
	for _, rule := range []string{"address of the creation", "address of the first mapping", "address of a mapping that is gone"} {
		t.Run(rule, func(t *testing.T) {
			a := arenatest.New(t, arena.Options{})
			if rule != "address of the creation" {
				a = arenaWithoutExtra(t)
			}
			word, err := arena.Ptr[uint64](a.Base()).In(a)
			if err != nil {
				t.Fatal(err)
			}
			*word = 41
			if rule == "address of a mapping that is gone" {
				// The other process opens the arena while no process maps it.
				m, err := a.Map().Clone()
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				base := a.Base()
				a.Close()
				if a, err = arena.Open(m); err != nil || a.Base() != base {
					t.Fatalf("open: %v", err)
				}
				defer a.Close()
				if word, err = arena.Ptr[uint64](base).In(a); err != nil {
					t.Fatal(err)
				}
			}
			p := arenatest.Start(t, "first-word", a)
			if got, want := p.Line(), fmt.Sprintf("%#x 41", a.Base()); got != want {
				t.Errorf("the other process sees %s, want %s", got, want)
			}
			p.Finish()
			if *word != 42 {
				t.Errorf("this process sees %d", *word)
			}
		})
	}
}

// arenaWithoutExtra returns an arena that got its address with the first mapping.
func arenaWithoutExtra(tb testing.TB) *arena.Arena {
	tb.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Arena, MaxEntries: 4, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		tb.Fatal(err)
	}
	defer m.Close()
	if base, err := arenamem.Address(m); base != 0 || err != nil {
		tb.Errorf("address of a new arena: %#x, %v", base, err)
	}
	a, err := arena.Open(m)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { a.Close() })
	return a
}

// The kernel refuses mappings with another address or size than the first, even after the first is
// unmapped.
func TestKernelMappingRules(t *testing.T) {
	testenv.NoLeaks(t)
	base := freeBase(t)
	const size = 4
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Arena, MaxEntries: size, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		testenv.SkipWithout(t, "arena", err)
	}
	defer m.Close()
	mmap := func(at, length uint64) error {
		p, err := syscall.MmapAt(m.FD(), uintptr(at), uintptr(length), unix.PROT_READ|unix.PROT_WRITE)
		if err == nil {
			err = syscall.Munmap(p, uintptr(length))
		}
		return err
	}
	if err := mmap(base, size*arenamem.PageSize); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rule       string
		at, length uint64
		want       error
	}{
		{"the same", base, size * arenamem.PageSize, nil},
		{"another address", base + arenamem.Window, size * arenamem.PageSize, unix.EINVAL},
		{"smaller", base, (size - 1) * arenamem.PageSize, unix.EINVAL},
		{"larger", base, (size + 1) * arenamem.PageSize, unix.E2BIG},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if err := mmap(tt.at, tt.length); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	if got, err := arenamem.Address(m); got != base || err != nil {
		t.Errorf("the address is %#x, %v; want %#x", got, err, base)
	}
}

func TestAddressTaken(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{})
	base := freeBase(t)
	// Map a page of a memfd in the middle of the arena's address range.
	fd, err := unix.MemfdCreate("in-the-way", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p, err := syscall.MmapAt(fd, uintptr(base+3*arenamem.PageSize), uintptr(arenamem.PageSize), unix.PROT_READ)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(p, uintptr(arenamem.PageSize))
	_, err = arena.Create(arena.Options{Size: 8 * arenamem.PageSize, Base: base})
	if !errors.Is(err, arena.ErrAddressTaken) || !errors.Is(err, unix.EEXIST) {
		t.Fatalf("error %v", err)
	}
	want := fmt.Sprintf("overlaps %x-%x ", base+3*arenamem.PageSize, base+4*arenamem.PageSize)
	if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), ";") {
		t.Errorf("error %q, want one that says %q", err, want)
	}
	if _, err := arena.Open(a.Map()); !errors.Is(err, arena.ErrAddressTaken) || !strings.Contains(err.Error(), "bpf-map") {
		t.Errorf("open it twice in one process: %v", err)
	}
}

func TestOpenRefused(t *testing.T) {
	testenv.NoLeaks(t)
	ring := testenv.Ring(t, uint32(arenamem.PageSize))
	if _, err := arena.Open(ring); err == nil || !strings.Contains(err.Error(), "RingBuf") {
		t.Errorf("open of a ring: %v", err)
	}
}

func TestAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{})
	base := arena.Ptr[byte](a.Base())
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	_, in := base.In(a)
	_, load := base.Load(a)
	_, bytes := a.Bytes(base, 1)
	_, alloc := a.AllocPages(base, 1)
	_, anywhere := a.AllocPages(0, 1)
	for what, err := range map[string]error{
		"In": in, "Load": load, "Store": base.Store(a, 1), "Bytes": bytes,
		"Peek": a.Peek(base, make([]byte, 8)), "AllocPages": alloc, "AllocPages(0)": anywhere, "FreePages": a.FreePages(base, 1),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
