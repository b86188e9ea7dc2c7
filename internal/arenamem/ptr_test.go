package arenamem

import (
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestPtr(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{Size: 4 * pageSize})
	end := a.Base() + a.Size()
	tests := []struct {
		rule string
		p    Ptr[uint64]
		want error
	}{
		{"the first word", Ptr[uint64](a.Base()), nil},
		{"the last word", Ptr[uint64](end - 8), nil},
		{"nil", 0, ErrNil},
		{"not aligned", Ptr[uint64](a.Base() + 4), ErrPointer},
		{"below", Ptr[uint64](a.Base() - 8), ErrPointer},
		{"at the end", Ptr[uint64](end), ErrPointer},
		{"partly beyond the end", Ptr[uint64](end - 4), ErrPointer},
		{"in another window", Ptr[uint64](a.Base() + window), ErrPointer},
		{"without the upper half", Ptr[uint64](8), ErrPointer},
		{"the largest", ^Ptr[uint64](7), ErrPointer},
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
			if back, err := PtrTo(a, v); err != nil || back != tt.p {
				t.Errorf("back: %#x, %v", back, err)
			}
		})
	}
	t.Run("larger than the arena", func(t *testing.T) {
		if _, err := Ptr[[1 << 20]byte](a.Base()).In(a); !errors.Is(err, ErrPointer) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("memory of Go", func(t *testing.T) {
		if _, err := PtrTo(a, new(uint64)); !errors.Is(err, ErrPointer) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a type with Go pointers", func(t *testing.T) {
		v, err := Ptr[struct{ s string }](a.Base()).In(a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := PtrTo(a, v); !errors.Is(err, ErrPointer) {
			t.Errorf("error %v", err)
		}
	})
	for _, n := range []uint64{0, 1, a.Size(), a.Size() + 1, ^uint64(0)} {
		b, err := a.Bytes(Ptr[byte](a.Base()), n)
		if ok := n <= a.Size(); ok != (err == nil) || ok && uint64(len(b)) != n {
			t.Errorf("%d bytes: %d, %v", n, len(b), err)
		}
	}
}

// Guard is for the arena's own faults only.
func TestGuard(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{SegvOnFault: true})
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
	other := newArena(t, Options{SegvOnFault: true})
	if v, ok := panics(func() error { *(*byte)(other.mem) = 1; return nil }).(runtime.Error); !ok {
		t.Errorf("a fault in another arena: %v", v)
	}
	if err := a.Guard(func() error { *(*byte)(unsafe.Add(a.mem, 5)) = 1; return nil }); !errors.Is(err, ErrAbsent) {
		t.Errorf("error %v", err)
	}
}

// Pointers into an arena that was dropped, not closed, stay valid after it was collected.
func TestPointersOutliveACollectedArena(t *testing.T) {
	newArena(t, Options{}) // or skip
	collected := make(chan struct{})
	var base, size uint64
	open := func() (*uint64, []byte) {
		a, err := Create(Options{Name: "test_arena", Size: 4 * pageSize})
		if err != nil {
			t.Fatal(err)
		}
		base, size = a.Base(), a.Size()
		p, err := Ptr[uint64](base).In(a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := a.Bytes(Ptr[byte](base+pageSize), pageSize)
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
	runtime.GC() // and what other cleanups there are
	if len(overlapping(base, size)) == 0 {
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
	a := newArena(b, Options{})
	p := Ptr[uint64](a.Base())
	var sum uint64
	for b.Loop() {
		v, err := p.In(a)
		if err != nil {
			b.Fatal(err)
		}
		sum += *v
	}
}
