package userdrains_test

import (
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/userdrains"
	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/userprod"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func newCounter(t *testing.T) *userdrains.Counter {
	t.Helper()
	c, err := userdrains.New()
	if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EPERM) { // EPERM: this kernel lets no process trace functions
		testenv.SkipWithout(t, "drain-fexit", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 { // Close is idempotent
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return c
}

// drainer is a user ring and a program that drains it.
type drainer struct {
	*usercheck.Checker
	*ring.Mapping
	id ebpf.MapID
}

func newDrainer(t *testing.T) drainer {
	t.Helper()
	m := testenv.Map(t, &ebpf.MapSpec{Name: "test_user", Type: ebpf.UserRingbuf, MaxEntries: uint32(os.Getpagesize())})
	c, err := usercheck.Load(m, 1, 64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	mem, err := ring.Produce(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Unmap() })
	info, err := syscall.MapInfoOf(m)
	if err != nil {
		t.Fatal(err)
	}
	return drainer{c, mem, ebpf.MapID(info.ID)}
}

// of returns the counts of a ring.
func of(t *testing.T, c *userdrains.Counter, id ebpf.MapID) (found userdrains.Drains) {
	t.Helper()
	rings, err := c.Read()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range rings {
		if d.Map == id {
			return d
		}
	}
	return userdrains.Drains{}
}

func TestResultsAreCountedByRing(t *testing.T) {
	c := newCounter(t)
	d, other := newDrainer(t), newDrainer(t)
	drain := func(want int, errno unix.Errno) {
		t.Helper()
		n, err := d.Drain(0, 0)
		if n != want || errno != 0 && !errors.Is(err, errno) || errno == 0 && err != nil {
			t.Fatalf("Drain() = %d, %v; want %d, %v", n, err, want, errno)
		}
	}
	drain(0, 0)
	d.Data().SetTagged(0, 8)
	d.Data().SetTagged(16, 8)
	d.SetProducerPos(32)
	drain(2, 0)
	for range 3 {
		d.SetProducerPos(33)
		drain(0, unix.EINVAL)
	}
	d.SetProducerPos(40)
	d.Data().SetTagged(32, 64) // reaches beyond producer_pos
	drain(0, unix.EINVAL)
	d.SetProducerPos(1 << 30)
	d.Data().SetTagged(32, ring.Tagged(d.Size()))
	drain(0, unix.E2BIG)
	if _, err := other.Drain(0, 0); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(userdrains.Drains{Map: d.id, Calls: 7, Samples: 2, Invalid: 4, TooBig: 1}, of(t, c, d.id)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := gocmp.Diff(userdrains.Drains{Map: other.id, Calls: 1}, of(t, c, other.id)); diff != "" {
		t.Errorf("the other ring, -want +got:\n%s", diff)
	}
}

// Two programs drain one ring at once: each result that they get is counted.
func TestBusyDrainsAreCounted(t *testing.T) {
	c := newCounter(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "test_user", Type: ebpf.UserRingbuf, MaxEntries: 1 << 20})
	p, err := userprod.New(m, userprod.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var all sync.WaitGroup
	var mu sync.Mutex
	var want userdrains.Drains
	for range 2 {
		check, err := usercheck.Load(m, 1, 64)
		if err != nil {
			t.Fatal(err)
		}
		defer check.Close()
		all.Go(func() {
			for range 500 {
				userprod.TryWriteAll(p, make([][2]uint64, 1000))
				n, err := check.Drain(0, 0)
				mu.Lock()
				want.Calls++
				want.Samples += uint64(n)
				if errors.Is(err, unix.EBUSY) {
					want.Busy++
				} else if err != nil {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	info, err := syscall.MapInfoOf(m)
	if err != nil {
		t.Fatal(err)
	}
	want.Map = ebpf.MapID(info.ID)
	if diff := gocmp.Diff(want, of(t, c, want.Map)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	t.Logf("%d of %d drains were busy", want.Busy, want.Calls)
}
