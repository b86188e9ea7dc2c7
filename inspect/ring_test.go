package inspect

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/ringbuf"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/testenv"
)

// nothingElse skips users, programs and pins.
var nothingElse = Options{SkipUsers: true, SkipPrograms: true, SkipPins: true}

func one(t *testing.T, m *ebpf.Map) *Map {
	t.Helper()
	d, err := One(m, nothingElse)
	if err != nil {
		t.Fatal(err)
	}
	for _, note := range d.Notes {
		t.Error("note:", note)
	}
	return d
}

func load(t *testing.T, m *ebpf.Map) *producer.Producer {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func produce(t *testing.T, p *producer.Producer, job producer.Job) {
	t.Helper()
	if _, err := p.Run(context.Background(), job); err != nil {
		t.Fatal(err)
	}
}

func TestPositionsAreThoseOfTheKernel(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 1<<16)
	p := load(t, m)
	defer p.Close()
	rd, err := ringbuf.NewReader(m)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	produce(t, p, producer.Job{Op: producer.Output, Count: 100, Size: 12, DiscardEvery: 0})
	for range 10 {
		if _, err := rd.Read(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // twice, to see that One changes nothing
		got, err := p.Query()
		if err != nil {
			t.Fatal(err)
		}
		d := one(t, m)
		if d.Positions.Consumer != got.ConsPos || d.Positions.Producer != got.ProdPos || d.Positions.Backlog != got.AvailData || d.Bytes != got.RingSize {
			t.Errorf("got %+v, the kernel says %+v", d.Positions, got)
		}
		if d.Positions.Backlog != 90*24 || d.Positions.Fill != float64(90*24)/(1<<16) || d.Positions.Busy != nil || d.Positions.Overwrite != nil {
			t.Errorf("got %+v", d.Positions)
		}
	}
}

func TestABusyHeadIsReported(t *testing.T) {
	for name, before := range map[string]int{
		"at the beginning":        0,
		"on a later page":         5,
		"the ring's second round": 37,
	} {
		t.Run(name, func(t *testing.T) { testABusyHead(t, before) })
	}
}

// testABusyHead inspects a BUSY record that follows before records of 1 KiB each, header included.
func testABusyHead(t *testing.T, before int) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 1<<15)
	p := load(t, m)
	defer p.Close()
	rd, err := ringbuf.NewReader(m)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	oneRecord := producer.Job{Op: producer.Output, Count: 1, Size: 1016}
	read := func() {
		t.Helper()
		if _, err := rd.Read(); err != nil {
			t.Fatal(err)
		}
	}
	for range before {
		produce(t, p, oneRecord)
		read()
	}

	produce(t, p, oneRecord)
	held, err := p.Hold(7, 100)
	testenv.SkipIfNotSupported(t, "bpf-syscall-program", err)
	if err != nil {
		t.Fatal(err)
	}
	produce(t, p, oneRecord)
	d := one(t, m)
	if d.Positions.Busy != nil {
		t.Errorf("busy %+v, behind a committed record", d.Positions.Busy)
	}
	kernel, err := kernelFields()
	if err != nil {
		t.Fatal(err)
	}
	if kernel.pending != (d.Positions.Pending != nil) {
		t.Errorf("pending position %v", d.Positions.Pending)
	}
	pos := uint64(before+1) * 1024
	// The kernel updates pending_pos only when a record is reserved.
	if d.Positions.Pending != nil && *d.Positions.Pending != pos {
		t.Errorf("pending position %d, want %d", *d.Positions.Pending, pos)
	}

	read()
	if diff := gocmp.Diff(&Busy{Pos: pos, Len: 100}, one(t, m).Positions.Busy); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if err := held.Commit(); err != nil {
		t.Fatal(err)
	}
	if d := one(t, m); d.Positions.Busy != nil {
		t.Errorf("busy %+v after the commit", d.Positions.Busy)
	}
}

func TestAnOverwritingRing(t *testing.T) {
	testenv.NoLeaks(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize, Flags: mapflag.RBOverwrite})
	if errors.Is(err, unix.EINVAL) {
		testenv.SkipWithout(t, "ringbuf-overwrite", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := load(t, m)
	defer p.Close()
	produce(t, p, producer.Job{Op: producer.Output, Count: 1000, Size: 8})
	got, err := p.Query()
	if err != nil {
		t.Fatal(err)
	}
	d := one(t, m)
	if d.Positions.Overwrite == nil || *d.Positions.Overwrite != got.OverwritePos || d.Positions.Backlog != d.Positions.Producer-*d.Positions.Overwrite || d.Positions.Backlog > d.Bytes {
		t.Errorf("got %+v, the kernel says %+v", d.Positions, got)
	}
}

// Positions are always possible values while a ring is produced and consumed at full speed.
func TestPositionsUnderFlood(t *testing.T) {
	testenv.NoLeaks(t)
	looks := 20000
	if testing.Short() {
		looks = 500
	}
	m := testenv.Ring(t, 1<<14)
	p := load(t, m)
	defer p.Close()
	rd, err := ringbuf.NewReader(m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := p.Run(ctx, producer.Job{Op: producer.Output, Count: 1 << 40, Size: 16, MaxSize: 256}); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	wg.Go(func() {
		var rec ringbuf.Record
		for rd.ReadInto(&rec) == nil {
		}
	})
	var last Positions
	moved := 0
	for range looks {
		d := Map{Bytes: 1 << 14}
		d.observe(m, fields{})
		checkPossible(t, &d)
		if len(d.Notes) > 0 || d.Positions.Consumer < last.Consumer || d.Positions.Producer < last.Producer {
			t.Fatalf("%+v after %+v, %q", *d.Positions, last, d.Notes)
		}
		if d.Positions.Producer != last.Producer {
			moved++
		}
		last = *d.Positions
	}
	stop()
	rd.Close()
	wg.Wait()
	t.Logf("%d looks, the ring moved between %d of them, %d bytes in all", looks, moved, last.Producer)
}

// A process that can write positions can write any value.
func TestHostilePositions(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	page0, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page0)
	produce(t, load(t, m), producer.Job{Op: producer.Output, Count: 10, Size: 8})
	for _, pos := range []uint64{1, 7, 159, 160, 161, uint64(testenv.PageSize), 1 << 31, 1<<63 - 1, 1 << 63, 1<<64 - 1, -uint64(testenv.PageSize)} {
		binary.NativeEndian.PutUint64(page0, pos)
		d := Map{Bytes: uint64(testenv.PageSize)}
		d.observe(m, fields{})
		checkPossible(t, &d)
		if pos > 160 && d.Notes == nil && d.Positions.Producer-pos > d.Bytes {
			t.Errorf("consumer_pos %d: no note, %+v", pos, d.Positions)
		}
	}
}

func checkPossible(t *testing.T, d *Map) {
	t.Helper()
	if d.Positions.Backlog > d.Bytes || !(d.Positions.Fill >= 0 && d.Positions.Fill <= 1) {
		t.Errorf("impossible: %+v", d.Positions)
	}
	if d.Positions.Busy != nil && uint64(d.Positions.Busy.Len) > d.Bytes {
		t.Errorf("impossible: %+v", d.Positions.Busy)
	}
}

func TestPositionsOfAUserRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	pages, err := unix.Mmap(m.FD(), int64(os.Getpagesize()), 3*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(pages)
	data := pages[os.Getpagesize():]
	binary.NativeEndian.PutUint32(data, 1<<31|20)
	binary.NativeEndian.PutUint64(pages, 32)
	d := one(t, m)
	if d.Positions.Consumer != 0 || d.Positions.Producer != 32 || d.Positions.Backlog != 32 || d.Positions.Pending != nil || d.Positions.Overwrite != nil {
		t.Errorf("got %+v", d.Positions)
	}
	if diff := gocmp.Diff(&Busy{Pos: 0, Len: 20}, d.Positions.Busy); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func userRing(tb testing.TB, size uint32) *ebpf.Map {
	tb.Helper()
	if err := features.HaveMapType(ebpf.UserRingbuf); err != nil {
		testenv.SkipIfNotSupported(tb, "user_ringbuf", err)
		tb.Fatal(err)
	}
	return testenv.Map(tb, &ebpf.MapSpec{Name: "user_ring", Type: ebpf.UserRingbuf, MaxEntries: size})
}

// FuzzHostileRing writes arbitrary bytes to the pages that the producer of a user ring can write.
func FuzzHostileRing(f *testing.F) {
	m := userRing(f, testenv.PageSize)
	page := os.Getpagesize()
	pages, err := unix.Mmap(m.FD(), int64(page), 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Munmap(pages) })
	f.Add(uint64(0), uint32(0))
	f.Add(uint64(24), uint32(1<<31|16))
	f.Add(uint64(25), uint32(1<<31|16))
	f.Add(uint64(page), uint32(1<<31|page-7))
	f.Add(uint64(1)<<63, uint32(1<<31|1<<30))
	f.Add(^uint64(0), ^uint32(0))
	f.Fuzz(func(t *testing.T, pos uint64, header uint32) {
		binary.NativeEndian.PutUint64(pages, pos)
		binary.NativeEndian.PutUint32(pages[page:], header)
		d := Map{Bytes: uint64(testenv.PageSize)}
		d.observe(m, fields{})
		checkPossible(t, &d)
	})
}
