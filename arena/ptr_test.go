package arena_test

import (
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestPtr(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{Size: 4 * arenamem.PageSize})
	end := a.Base() + a.Size()
	tests := []struct {
		rule string
		p    arena.Ptr[uint64]
		want error
	}{
		{"the first word", arena.Ptr[uint64](a.Base()), nil},
		{"the last word", arena.Ptr[uint64](end - 8), nil},
		{"nil", 0, arenamem.ErrNil},
		{"not aligned", arena.Ptr[uint64](a.Base() + 4), arena.ErrPointer},
		{"below", arena.Ptr[uint64](a.Base() - 8), arena.ErrPointer},
		{"at the end", arena.Ptr[uint64](end), arena.ErrPointer},
		{"partly beyond the end", arena.Ptr[uint64](end - 4), arena.ErrPointer},
		{"in another window", arena.Ptr[uint64](a.Base() + arenamem.Window), arena.ErrPointer},
		{"without the upper half", arena.Ptr[uint64](8), arena.ErrPointer},
		{"the largest", ^arena.Ptr[uint64](7), arena.ErrPointer},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			v, err := tt.p.In(a)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if err != nil {
				return
			}
			if uint64(uintptr(unsafe.Pointer(v))) != uint64(tt.p) {
				t.Errorf("it leads to %p, want %#x", v, tt.p)
			}
		})
	}
	t.Run("larger than the arena", func(t *testing.T) {
		if _, err := arena.Ptr[[1 << 20]byte](a.Base()).In(a); !errors.Is(err, arena.ErrPointer) {
			t.Errorf("error %v", err)
		}
	})
	for _, n := range []uint64{0, 1, a.Size(), a.Size() + 1, ^uint64(0)} {
		b, err := a.Bytes(arena.Ptr[byte](a.Base()), n)
		if ok := n <= a.Size(); ok != (err == nil) || ok && uint64(len(b)) != n {
			t.Errorf("%d bytes: %d, %v", n, len(b), err)
		}
	}
}

// Guard turns only faults in its own arena into errors.
func TestGuard(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{SegvOnFault: true})
	wrong := errors.New("wrong")
	if err := a.Guard(func() error { return wrong }); err != wrong {
		t.Errorf("error %v", err)
	}
	panics := func(f func() error) (v any) {
		defer func() { v = recover() }()
		a.Guard(f)
		return nil
	}
	if v := panics(func() error { panic(wrong) }); v != wrong {
		t.Errorf("panic %v", v)
	}
	if v := panics(func() error { var p *int; *p = 1; return nil }); v == nil {
		t.Error("a nil pointer in the caller's code did not panic")
	}
	other := arenatest.New(t, arena.Options{SegvOnFault: true})
	if v, ok := panics(func() error { *(*byte)(arenamem.Of(other).Addr) = 1; return nil }).(runtime.Error); !ok {
		t.Errorf("a fault in another arena: %v", v)
	}
	if err := a.Guard(func() error { *(*byte)(unsafe.Add(arenamem.Of(a).Addr, 5)) = 1; return nil }); !errors.Is(err, arena.ErrAbsent) {
		t.Errorf("error %v", err)
	}
}

// Pointers into an arena stay valid after the garbage collector has freed its Arena, which was not
// closed.
func TestPointersOutliveACollectedArena(t *testing.T) {
	arenatest.New(t, arena.Options{}) // skips the test if the kernel has no arenas
	collected := make(chan struct{})
	var base, size uint64
	open := func() (*uint64, []byte) {
		a, err := arena.Create(arena.Options{Name: "test_arena", Size: 4 * arenamem.PageSize})
		if err != nil {
			t.Fatal(err)
		}
		base, size = a.Base(), a.Size()
		p, err := arena.Ptr[uint64](base).In(a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := a.Bytes(arena.Ptr[byte](base+arenamem.PageSize), arenamem.PageSize)
		if err != nil {
			t.Fatal(err)
		}
		*p, b[0] = 5, 6
		runtime.AddCleanup(a, func(done chan struct{}) { close(done) }, collected)
		return p, b
	}
	p, b := open()
	for over := false; !over; {
		runtime.GC()
		select {
		case <-collected:
			over = true
		default:
			runtime.Gosched()
		}
	}
	runtime.GC() // let other cleanups run too
	if len(arenamem.Overlapping(base, size)) == 0 {
		t.Fatal("its mapping is gone")
	}
	if *p != 5 || b[0] != 6 {
		t.Errorf("read %d and %d", *p, b[0])
	}
	if err := syscall.Munmap(unsafe.Pointer(p), uintptr(size)); err != nil {
		t.Error(err)
	}
}

func BenchmarkPtrIn(b *testing.B) {
	a := arenatest.New(b, arena.Options{})
	p := arena.Ptr[uint64](a.Base())
	var sum uint64
	for b.Loop() {
		v, err := p.In(a)
		if err != nil {
			b.Fatal(err)
		}
		sum += *v
	}
}
