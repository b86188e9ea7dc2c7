package ring

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

// mapped counts the mappings in this process of memory files named ring.
func mapped(tb testing.TB) int {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Count(string(text), "/memfd:ring")
}

func TestLifetime(t *testing.T) {
	type step struct {
		name string
		do   func(*Mapping) bool
		want bool
	}
	var (
		acquire = func(want bool) step { return step{"Acquire", (*Mapping).Acquire, want} }
		release = func(want bool) step { return step{"Release", (*Mapping).Release, want} }
		closing = func(want bool) step { return step{"Close", (*Mapping).Close, want} }
	)
	tests := []struct {
		rule  string
		steps []step
	}{
		{"nobody uses it: Close is last", []step{closing(true)}},
		{"only the first Close is last", []step{closing(true), closing(false), closing(false)}},
		{"a released use does not count", []step{acquire(true), release(false), closing(true)}},
		{"the last user of a closed one is last", []step{acquire(true), closing(false), release(true)}},
		{"only the last of two users is", []step{acquire(true), acquire(true), closing(false), release(false), release(true)}},
		{"a second Close changes nothing", []step{acquire(true), closing(false), closing(false), release(true)}},
		{"a closed one cannot be acquired", []step{closing(true), acquire(false)}},
		{"nor while others still use it", []step{acquire(true), closing(false), acquire(false), release(true)}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			size := uint64(os.Getpagesize())
			before := mapped(t)
			m, err := Consume(testenv.NewMemory(t, size).FD, size)
			if err != nil {
				t.Fatal(err)
			}
			unmaps := 0
			for i, s := range tt.steps {
				got := s.do(m)
				if got != s.want {
					t.Fatalf("step %d: %s() = %t, want %t", i, s.name, got, s.want)
				}
				if got && s.name != "Acquire" {
					unmaps++
					if err := m.Unmap(); err != nil {
						t.Fatal(err)
					}
				}
			}
			if unmaps != 1 || !m.Closed() {
				t.Errorf("unmapped %d times, closed %t", unmaps, m.Closed())
			}
			// The test's own mapping of the file remains.
			if now := mapped(t); now > before+1 {
				t.Errorf("%d regions are left", now-before-1)
			}
		})
	}
}

// Some goroutines acquire and release the Mapping while others close it. A fault would end the
// process.
func TestCloseUnderUse(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	size := uint64(os.Getpagesize())
	mem := testenv.NewMemory(t, size)
	before := mapped(t)
	for range rounds {
		m, err := Consume(mem.FD, size)
		if err != nil {
			t.Fatal(err)
		}
		var (
			wg     sync.WaitGroup
			mu     sync.Mutex
			unmaps int
		)
		last := func(is bool) {
			if is {
				mu.Lock()
				defer mu.Unlock()
				unmaps++
				if err := m.Unmap(); err != nil {
					t.Error(err)
				}
			}
		}
		for range 3 {
			wg.Go(func() {
				for m.Acquire() {
					runtime.Gosched()
					m.SetConsumerPos(m.ProducerPos() + Pos(m.Data().Header(0)))
					last(m.Release())
				}
			})
		}
		for range 2 {
			wg.Go(func() { last(m.Close()) })
		}
		wg.Wait()
		if unmaps != 1 {
			t.Fatalf("unmapped %d times", unmaps)
		}
	}
	if now := mapped(t); now > before {
		t.Errorf("%d regions are left", now-before)
	}
}

// A panic in a loop over the ring prevents the call of Release. The garbage collector then unmaps
// the memory.
func TestGarbageIsUnmapped(t *testing.T) {
	testenv.NoLeaks(t)
	size := uint64(os.Getpagesize())
	mem := testenv.NewMemory(t, size)
	before := mapped(t)
	func() {
		m, err := Consume(mem.FD, size)
		if err != nil {
			t.Fatal(err)
		}
		m.Acquire()
		m.Close()
	}()
	// There is no notification of the end of a cleanup: poll for a bounded time.
	deadline := time.Now().Add(10 * time.Second)
	for mapped(t) > before {
		if time.Now().After(deadline) {
			t.Fatalf("%d regions are left", mapped(t)-before)
		}
		runtime.GC()
	}
}
