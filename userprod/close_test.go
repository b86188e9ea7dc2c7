package userprod

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/userring"
)

func TestWhatIsNotAUserRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	for name, call := range map[string]func() error{
		"New":      func() error { _, err := New(m, Options{}); return err },
		"Diagnose": func() error { _, err := userring.Diagnose(m); return err },
	} {
		if err := call(); err == nil || !strings.Contains(err.Error(), "map is a RingBuf, not a UserRingbuf") {
			t.Errorf("%s of a ring: %v", name, err)
		}
	}
	u := userRing(t, testenv.PageSize)
	if err := u.Freeze(); err != nil {
		t.Fatal(err)
	}
	if _, err := New(u, Options{}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("New of a frozen ring: %v", err)
	}
	u.Close()
	if _, err := New(u, Options{}); err == nil {
		t.Error("New of a closed map")
	}
}

func TestAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p := producer(t, m, Options{})
	s, err := p.TryReserve(8)
	if err != nil {
		t.Fatal(err)
	}
	b := begin(p)
	buf, err := b.TryNext(8)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	clear(s.Bytes()) // must not fault
	clear(buf)
	for name, call := range map[string]func() error{
		"Sample.Commit":                   s.Commit,
		"Sample.Discard":                  s.Discard,
		"Batch.Publish":                   b.Publish,
		"Batch.TryNext in another window": func() error { _, err := b.TryNext(largest); return err },
	} {
		if err := call(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	b.End()
	for _, call := range []struct {
		name string
		do   func() error
	}{
		{"Reserve", func() error { _, err := p.TryReserve(8); return err }},
		{"TryWrite", func() error { return p.TryWrite(nil) }},
		{"Write", func() error { return p.Write(t.Context(), nil) }},
		{"Write of a large sample", func() error { return p.Write(t.Context(), make([]byte, 5000)) }},
		{"Stats", func() error { _, err := p.Stats(); return err }},
		{"Wait", func() error { return p.awaitRoom(t.Context(), 8, 1) }},
		{"WriteAll", func() error { _, err := TryWriteAll(p, []int{1}); return err }},
		{"Batch", func() error {
			b := begin(p)
			defer b.End()
			_, err := b.TryNext(8)
			return err
		}},
	} {
		if err := call.do(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %v", call.name, err)
		}
	}
	if d, err := userring.Diagnose(m); err != nil || d != (userring.Diagnosis{ProducerPos: 16, Discarded: 1}) {
		t.Errorf("left behind: %+v, %v: want what was reserved, discarded", d, err)
	}
}

// Close discards reserved samples, so the kernel can drain committed samples after them.
func TestCloseDiscardsWhatIsReserved(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	c := checker(t, m, 1, 64)
	p := producer(t, m, Options{})
	s, err := p.TryReserve(64)
	if err != nil {
		t.Fatal(err)
	}
	if err := one(p, 1); err != nil {
		t.Fatal(err)
	}
	if n := drain(t, c); n != 0 {
		t.Fatalf("%d samples came past a reserved one", n)
	}
	p.Close()
	if err := s.Commit(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Commit: %v", err)
	}
	if n := drain(t, c); n != 1 {
		t.Errorf("%d of 1 samples came", n)
	}
	if p := producer(t, m, Options{}); p.found != (userring.Recovery{}) {
		t.Errorf("the next one recovered %+v", p.found)
	}
}

// Close runs while goroutines write; a fault would end the test process. Every sample whose commit
// succeeded is drained, and the next Producer finds a consistent ring.
func TestCloseUnderWork(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	const workers, seqs = 4, 1 << 18
	c := checker(t, m, workers, seqs)
	var next, surely [workers]uint32
	sure := make([]map[uint32]bool, workers) // samples whose commit succeeded
	for w := range sure {
		sure[w] = map[uint32]bool{}
	}
	for range long(300, 30) {
		p, err := New(m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if r := p.found; r != (userring.Recovery{}) {
			t.Fatalf("after Close there was something to recover: %+v", r)
		}
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				for i := w; next[w] < seqs; i++ { // so the loop ends even if Close is late
					seq := next[w]
					next[w]++
					err := ways[i%len(ways)].write(t.Context(), p, 64, func(b []byte) { usercheck.Fill(b, uint32(w), seq) })
					if err != nil {
						if !errors.Is(err, os.ErrClosed) {
							t.Errorf("error %v", err)
						}
						return
					}
					sure[w][seq] = true
					surely[w]++
				}
			})
		}
		for range 20 {
			drain(t, c)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		all.Wait()
	}
	for drain(t, c) > 0 {
	}
	if d, err := userring.Diagnose(m); err != nil || d.ConsumerPos != d.ProducerPos || d.Fault != nil {
		t.Errorf("left behind: %+v, %v", d, err)
	}
	counts(t, c)
	extra := 0
	for w := range workers {
		extra += compareSure(t, c, uint32(w), sure[w])
	}
	t.Logf("%d samples, and %d more came although Close failed their calls", surely, extra)
}

// compareSure checks that all samples of a worker whose commit succeeded were drained. It returns
// how many other samples of the worker were drained.
func compareSure(t *testing.T, c *usercheck.Checker, worker uint32, sure map[uint32]bool) (extra int) {
	t.Helper()
	came, err := c.Seen(worker)
	if err != nil {
		t.Fatal(err)
	}
	for seq, came := range came {
		switch {
		case sure[uint32(seq)] && !came:
			t.Fatalf("worker %d: sample %d was committed and did not come", worker, seq)
		case !sure[uint32(seq)] && came:
			extra++
		}
	}
	return extra
}

// The garbage collector unmaps the memory of closed rings.
func TestGarbageIsUnmapped(t *testing.T) {
	testenv.NoLeaks(t)
	size := func() int {
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		var pages int
		for _, c := range text {
			if c == ' ' {
				break
			}
			pages = 10*pages + int(c-'0')
		}
		return pages * os.Getpagesize()
	}
	m := userRing(t, 64<<20)
	before := size()
	for range 32 { // 4 GiB
		p, err := New(m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
	}
	// There is no notification of the end of a cleanup: poll for a bounded time. A new thread may
	// take 72 MiB.
	for deadline := time.Now().Add(10 * time.Second); size() > before+1<<30; runtime.GC() {
		if time.Now().After(deadline) {
			t.Fatalf("%d MiB are left", (size()-before)>>20)
		}
	}
}

func TestProducersDoNotLeak(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	broken := userRing(t, testenv.PageSize)
	onRing(t, broken, setProducer(4))
	for range 20 {
		p, err := New(m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := New(m, Options{}); !errors.Is(err, ErrBusy) {
			t.Errorf("second: %v", err)
		}
		if _, err := New(broken, Options{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("broken: %v", err)
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheMapMayBeClosed(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize})
	c := checker(t, m, 1, 64)
	p := producer(t, m, Options{})
	m.Close()
	if err := one(p, 0); err != nil {
		t.Fatal(err)
	}
	if n := drain(t, c); n != 1 {
		t.Errorf("%d of 1 samples came", n)
	}
}
