package arenamem

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

	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

// freeBase returns the address of a window that nothing uses.
func freeBase(tb testing.TB) uint64 {
	tb.Helper()
	base, err := freeWindow()
	if err != nil {
		tb.Fatal(err)
	}
	return base
}

// The kernel's rules, as it applies them itself.
func TestKernelCreationRules(t *testing.T) {
	newArena(t, Options{}) // or skip
	base := freeBase(t)
	pages := uint32(MaxSize / pageSize)
	tests := []struct {
		rule string
		spec ebpf.MapSpec
		want error
	}{
		{"the flag BPF_F_MMAPABLE is needed", ebpf.MapSpec{MaxEntries: 1}, unix.EINVAL},
		{"flags of other maps are refused", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE | unix.BPF_F_NO_PREALLOC}, unix.EINVAL},
		{"both flags of arenas are taken", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE | flagSegvOnFault | flagNoUserConv}, nil},
		{"an arena has no keys", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE, KeySize: 4}, unix.EINVAL},
		{"an arena has no values", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE, ValueSize: 4}, unix.EINVAL},
		{"an arena has pages", ebpf.MapSpec{Flags: unix.BPF_F_MMAPABLE}, unix.EINVAL},
		{"the address is a multiple of the page size", ebpf.MapSpec{MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE, MapExtra: base + 8}, unix.EINVAL},
		{"4 GiB are not too much", ebpf.MapSpec{MaxEntries: pages, Flags: unix.BPF_F_MMAPABLE, MapExtra: base}, nil},
		{"a page more is", ebpf.MapSpec{MaxEntries: pages + 1, Flags: unix.BPF_F_MMAPABLE}, unix.E2BIG},
		{"up to the end of a window", ebpf.MapSpec{MaxEntries: 2, Flags: unix.BPF_F_MMAPABLE, MapExtra: base + window - 2*pageSize}, nil},
		{"not across it", ebpf.MapSpec{MaxEntries: 3, Flags: unix.BPF_F_MMAPABLE, MapExtra: base + window - 2*pageSize}, unix.ERANGE},
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
		opts Options
		want error
		says string
	}{
		{"no size", Options{}, unix.EINVAL, "multiple of the page size"},
		{"half a page", Options{Size: pageSize / 2}, unix.EINVAL, "multiple of the page size"},
		{"more than 4 GiB", Options{Size: MaxSize + pageSize}, unix.E2BIG, "more than 4 GiB"},
		{"an odd address", Options{Size: pageSize, Base: firstWindow + 8}, unix.EINVAL, "multiple of the page size"},
		{"across windows", Options{Size: 2 * pageSize, Base: firstWindow + window - pageSize}, unix.ERANGE, "multiple of 4 GiB"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			_, err := Create(tt.opts)
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
	a := newArena(t, Options{Size: MaxSize})
	if a.Size() != MaxSize {
		t.Fatalf("size %d", a.Size())
	}
	last, err := Ptr[byte](a.Base() + MaxSize - 1).In(a)
	if err != nil {
		t.Fatal(err)
	}
	*last = 7
	buf := make([]byte, 8)
	if err := a.Peek(Ptr[byte](a.Base()+MaxSize-8), buf); err != nil || buf[7] != 7 {
		t.Errorf("a program sees %d at the end, %v", buf, err)
	}
	if _, err := (Ptr[byte](a.Base() + MaxSize)).In(a); !errors.Is(err, ErrPointer) {
		t.Errorf("one byte further: %v", err)
	}
}

func TestSeveralArenasInOneProcess(t *testing.T) {
	testenv.NoLeaks(t)
	for i := range byte(8) {
		a := newArena(t, Options{Size: MaxSize / 2})
		p, err := Ptr[byte](a.Base()).In(a)
		if err != nil {
			t.Fatal(err)
		}
		if *p != 0 {
			t.Errorf("arena %d is not empty", i)
		}
		*p = i + 1
	}
}

func init() {
	helpers["first-word"] = func(a *Arena, in *bufio.Reader) error {
		p, err := Ptr[uint64](a.Base()).In(a)
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
}

func TestSecondProcessSeesTheSameBytes(t *testing.T) {
	for _, rule := range []string{"address of the creation", "address of the first mapping", "address of a mapping that is gone"} {
		t.Run(rule, func(t *testing.T) {
			a := newArena(t, Options{})
			if rule != "address of the creation" {
				a = arenaWithoutExtra(t)
			}
			word, err := Ptr[uint64](a.Base()).In(a)
			if err != nil {
				t.Fatal(err)
			}
			*word = 41
			if rule == "address of a mapping that is gone" {
				// Another process opens it when nobody has it mapped.
				m, err := a.Map().Clone()
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				base := a.Base()
				a.Close()
				if a, err = Open(m); err != nil || a.Base() != base {
					t.Fatalf("open: %v", err)
				}
				defer a.Close()
				if word, err = Ptr[uint64](base).In(a); err != nil {
					t.Fatal(err)
				}
			}
			p := startHelper(t, "first-word", a)
			if got, want := p.line(), fmt.Sprintf("%#x 41", a.Base()); got != want {
				t.Errorf("the other process sees %s, want %s", got, want)
			}
			p.finish()
			if *word != 42 {
				t.Errorf("this process sees %d", *word)
			}
		})
	}
}

// arenaWithoutExtra returns an arena whose address came with its first mapping.
func arenaWithoutExtra(tb testing.TB) *Arena {
	tb.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Arena, MaxEntries: 4, Flags: unix.BPF_F_MMAPABLE})
	if err != nil {
		tb.Fatal(err)
	}
	defer m.Close()
	if base, err := addressOf(m); base != 0 || err != nil {
		tb.Errorf("address of a new arena: %#x, %v", base, err)
	}
	a, err := Open(m)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { a.Close() })
	return a
}

// The kernel keeps all mappings at one address and of one size, also when the first is gone.
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
	if err := mmap(base, size*pageSize); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rule       string
		at, length uint64
		want       error
	}{
		{"the same", base, size * pageSize, nil},
		{"another address", base + window, size * pageSize, unix.EINVAL},
		{"smaller", base, (size - 1) * pageSize, unix.EINVAL},
		{"larger", base, (size + 1) * pageSize, unix.E2BIG},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if err := mmap(tt.at, tt.length); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	if got, err := addressOf(m); got != base || err != nil {
		t.Errorf("the address is %#x, %v; want %#x", got, err, base)
	}
}

func TestAddressTaken(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{})
	base := freeBase(t)
	// A page of something else in the middle of where the arena is to lie.
	fd, err := unix.MemfdCreate("in-the-way", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	p, err := syscall.MmapAt(fd, uintptr(base+3*pageSize), uintptr(pageSize), unix.PROT_READ)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(p, uintptr(pageSize))
	_, err = Create(Options{Size: 8 * pageSize, Base: base})
	var taken *AddressTakenError
	if !errors.Is(err, ErrAddressTaken) || !errors.Is(err, unix.EEXIST) || !errors.As(err, &taken) {
		t.Fatalf("error %v", err)
	}
	if want := fmt.Sprintf("%x-%x ", base+3*pageSize, base+4*pageSize); len(taken.By) != 1 || !strings.HasPrefix(taken.By[0], want) {
		t.Errorf("taken by %q, want %q", taken.By, want)
	}
	if _, err := Open(a.Map()); !errors.Is(err, ErrAddressTaken) || !strings.Contains(err.Error(), "bpf-map") {
		t.Errorf("open it twice in one process: %v", err)
	}
}

func TestOpenRefused(t *testing.T) {
	testenv.NoLeaks(t)
	ring := testenv.Ring(t, uint32(pageSize))
	if _, err := Open(ring); err == nil || !strings.Contains(err.Error(), "RingBuf") {
		t.Errorf("open of a ring: %v", err)
	}
}

func TestAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{})
	base := Ptr[byte](a.Base())
	for range 2 {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
	_, in := base.In(a)
	_, load := base.Load(a)
	_, bytes := a.Bytes(base, 1)
	_, alloc := a.AllocPages(base, 1)
	for what, err := range map[string]error{
		"In": in, "Load": load, "Store": base.Store(a, 1), "Bytes": bytes,
		"Peek": a.Peek(base, make([]byte, 8)), "AllocPages": alloc, "FreePages": a.FreePages(base, 1),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
