package ring

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// closeNow closes m and fails the test if m has users.
func closeNow(tb testing.TB, m *Mapping) {
	tb.Helper()
	if !m.Close() {
		tb.Error("closed mapping is in use")
		return
	}
	if err := m.Unmap(); err != nil {
		tb.Error(err)
	}
}

// userRing creates a USER_RINGBUF of size bytes.
func userRing(tb testing.TB, size uint32) *ebpf.Map {
	tb.Helper()
	return testenv.Map(tb, &ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: size})
}

// readOnly returns m opened again with BPF_F_RDONLY.
func readOnly(tb testing.TB, m *ebpf.Map) *ebpf.Map {
	tb.Helper()
	path := testenv.PinPath(tb, "ring")
	if err := m.Pin(path); err != nil {
		tb.Fatal(err)
	}
	ro, err := ebpf.LoadPinnedMap(path, &ebpf.LoadPinOptions{ReadOnly: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ro.Close() })
	return ro
}

type mapFunc func(fd int, size uint64) (*Mapping, error)

var page = uint32(os.Getpagesize())

// frozen creates a RINGBUF of one page and freezes it.
func frozen(tb testing.TB) *ebpf.Map {
	m := testenv.Ring(tb, page)
	if err := m.Freeze(); err != nil {
		tb.Fatal(err)
	}
	return m
}

var mapTests = []struct {
	rule    string
	mapping mapFunc
	ring    func(testing.TB) *ebpf.Map
	size    uint64
	err     error  // nil if the ring can be mapped
	text    string // part of the error
}{
	{rule: "a ring can be consumed", mapping: Consume},
	{rule: "a ring can be observed", mapping: Observe},
	{
		rule: "a user ring can be observed", mapping: Observe,
		ring: func(tb testing.TB) *ebpf.Map { return userRing(tb, page) },
	},
	{
		rule: "a user ring can be produced into", mapping: Produce,
		ring: func(tb testing.TB) *ebpf.Map { return userRing(tb, page) },
	},
	{
		rule: "a ring is written by the kernel", mapping: Produce,
		err: unix.EPERM, text: "map producer and data pages: operation not permitted (",
	},
	{
		rule: "a frozen user ring cannot be produced into", mapping: Produce,
		ring: func(tb testing.TB) *ebpf.Map {
			m := userRing(tb, page)
			if err := m.Freeze(); err != nil {
				tb.Fatal(err)
			}
			return m
		},
		err: unix.EPERM, text: "or the map is frozen",
	},
	{
		rule: "a user ring is consumed by the kernel", mapping: Consume,
		ring: func(tb testing.TB) *ebpf.Map { return userRing(tb, page) },
		err:  unix.EPERM, text: "map consumer page: operation not permitted (",
	},
	{
		rule: "a frozen ring cannot be consumed", mapping: Consume, ring: frozen,
		err: unix.EPERM, text: "or the map is frozen",
	},
	{rule: "a frozen ring can be observed", mapping: Observe, ring: frozen},
	{
		rule: "a descriptor opened read-only cannot be mapped", mapping: Observe,
		ring: func(tb testing.TB) *ebpf.Map { return readOnly(tb, testenv.Ring(tb, page)) },
		err:  unix.EINVAL, text: "opened read-only",
	},
	{
		rule: "nor consumed through", mapping: Consume,
		ring: func(tb testing.TB) *ebpf.Map { return readOnly(tb, testenv.Ring(tb, page)) },
		err:  unix.EACCES, text: "opened read-only",
	},
	{
		rule: "no more than the ring is mapped", mapping: Observe, size: 2 * uint64(page),
		err: unix.EINVAL, text: "map ring read-only: ",
	},
	{rule: "no more than the ring is mapped to consume", mapping: Consume, size: 2 * uint64(page), err: unix.EINVAL},
	{rule: "less than the ring can be mapped, and is not noticed", mapping: Observe, size: uint64(page),
		ring: func(tb testing.TB) *ebpf.Map { return testenv.Ring(tb, 4*page) }},
}

func TestWhatTheKernelLetsUsMap(t *testing.T) {
	for _, tt := range mapTests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			var ring *ebpf.Map
			if tt.ring != nil {
				ring = tt.ring(t)
			} else {
				ring = testenv.Ring(t, page)
			}
			size := tt.size
			if size == 0 {
				size = uint64(page)
			}
			m, err := tt.mapping(ring.FD(), size)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %q does not say %q", err, tt.text)
				}
				return
			}
			if m.Size() != size {
				t.Errorf("Size() = %d, want %d", m.Size(), size)
			}
			closeNow(t, m)
		})
	}
}

func TestSizesThatNoRingHas(t *testing.T) {
	testenv.NoLeaks(t)
	page := uint64(testenv.PageSize)
	ring := testenv.Ring(t, testenv.PageSize)
	for _, size := range []uint64{0, 1, page / 2, page + 8, 5000, 3 * page, -page} {
		for name, mapping := range map[string]mapFunc{"Consume": Consume, "Observe": Observe, "Produce": Produce} {
			if _, err := mapping(ring.FD(), size); err == nil || !strings.Contains(err.Error(), "power of two") {
				t.Errorf("%s with size %d: error %v", name, size, err)
			}
		}
	}
}

// A read-only mapping of a ring cannot be made writable.
func TestObserverCannotBecomeWriter(t *testing.T) {
	testenv.NoLeaks(t)
	page := uint32(os.Getpagesize())
	m, err := Observe(testenv.Ring(t, page).FD(), uint64(page))
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, m)
	all := unsafe.Slice((*byte)(m.consumer), 4*page)
	if err := unix.Mprotect(all, unix.PROT_READ|unix.PROT_WRITE); !errors.Is(err, unix.EACCES) {
		t.Errorf("make a read-only mapping writable: %v, want %v", err, unix.EACCES)
	}
}

func TestObserverSeesConsumerAndProducer(t *testing.T) {
	testenv.NoLeaks(t)
	size := uint64(os.Getpagesize())
	mem := testenv.NewMemory(t, size)
	c, err := Consume(mem.FD, size)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, c)
	o, err := Observe(mem.FD, size)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, o)

	c.SetConsumerPos(1 << 40)
	*mem.ProducerPos(), *mem.PendingPos(), *mem.OverwritePos() = 1<<40+24, 1<<40+8, 1<<40+16
	for _, m := range []*Mapping{c, o} {
		if got := m.ConsumerPos(); got != 1<<40 {
			t.Errorf("ConsumerPos() = %d", got)
		}
		if got := m.ProducerPos(); got != 1<<40+24 {
			t.Errorf("ProducerPos() = %d", got)
		}
		if got := m.PendingPos(); got != 1<<40+8 {
			t.Errorf("PendingPos() = %d", got)
		}
		if got := m.OverwritePos(); got != 1<<40+16 {
			t.Errorf("OverwritePos() = %d", got)
		}
	}
}
