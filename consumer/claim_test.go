package consumer_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

var (
	exclusive = consumer.Options{}
	steal     = consumer.Options{Steal: true}
)

// three is the job of most tests in this file.
var three = producer.Job{Count: 3, Size: 8}

// refused fails the test unless err says that process pid has claimed the ring.
func refused(tb testing.TB, err error, pid int) {
	tb.Helper()
	busy, ok := errors.AsType[*consumer.BusyError](err)
	if !ok || int(busy.PID) != pid || busy.Stolen || !errors.Is(err, consumer.ErrBusy) {
		tb.Errorf("claimed by process %d: got error %v", pid, err)
	}
}

// robbed fails the test unless err says that process pid has taken the ring.
func robbed(tb testing.TB, err error, pid int) {
	tb.Helper()
	busy, ok := errors.AsType[*consumer.BusyError](err)
	if !ok || int(busy.PID) != pid || !busy.Stolen || !errors.Is(err, consumer.ErrBusy) {
		tb.Errorf("taken by process %d: got error %v", pid, err)
	}
}

func TestAClaimExcludesOthersUntilItsHolderEnds(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	for _, end := range []func(*testenv.Process){(*testenv.Process).Kill, (*testenv.Process).End} {
		a := testenv.Start(t, "claim", m)
		a.Expect(t, "ready")
		_, err := consumer.NewReader(m, exclusive)
		refused(t, err, a.Process.Pid)
		end(a)
		r, err := consumer.NewReader(m, exclusive)
		if err != nil {
			t.Fatalf("after the holder's end: %v", err)
		}
		r.Close()
	}
}

func TestAClaimEndsWithClose(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	for range 2 {
		r := reader(t, m, exclusive)
		_, err := consumer.NewReader(m, exclusive)
		refused(t, err, os.Getpid())
		r.Close()
	}
}

func TestAClaimEndsWithExec(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	a := testenv.Start(t, "exec", m)
	a.Expect(t, "ready")
	a.Expect(t, "ready")
	_, err := consumer.NewReader(m, exclusive)
	refused(t, err, a.Process.Pid)
}

// If the loop body of a pass panics, the Reader keeps its claim until it is garbage-collected. It
// then releases its own claim and not that of another Reader.
func TestAClaimLeftByAPanicIsItsOwn(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	run(t, load(t, m), three)
	panicking(t, m)
	thief := reader(t, m, steal)
	for range 10 {
		runtime.GC()
	}
	_, err := consumer.NewReader(m, exclusive)
	refused(t, err, os.Getpid())
	if got := seqs(t, thief, 0); len(got) != 3 {
		t.Errorf("the thief reads records %d of 3", got)
	}
}

// panicking abandons a Reader after the loop body of its pass has panicked.
func panicking(tb testing.TB, m *ebpf.Map) {
	r, err := consumer.NewReader(m, exclusive)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() {
		recover()
		r.Close()
	}()
	for range r.Pass(0) {
		panic("in a pass")
	}
}

func TestReadersOfOneProcessStealFromEachOther(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	run(t, load(t, m), three)
	first := reader(t, m, exclusive)
	thief := reader(t, m, steal)
	for rec := range first.Pass(0) {
		t.Errorf("the robbed reader reads record %d", seq(t, rec))
	}
	robbed(t, first.Err(), os.Getpid())
	if s := stats(t, first); s.ConsumerPos != 0 {
		t.Errorf("a stolen ring was published to: %+v", s)
	}
	first.Close()
	_, err := consumer.NewReader(m, exclusive)
	refused(t, err, os.Getpid())
	if got := seqs(t, thief, 0); len(got) != 3 {
		t.Errorf("the thief reads records %d of 3", got)
	}
}

func TestSharedReaders(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	reader(t, m, exclusive)
	reader(t, m, consumer.Options{Shared: true})
	if _, err := consumer.NewReader(m, consumer.Options{Shared: true, Steal: true}); err == nil {
		t.Error("a shared reader steals")
	}
}

// Two shared Readers that read at the same time lose no record, and every record they read is
// whole.
func TestSharedReadersAtTheSameTime(t *testing.T) {
	t.Run("a flood", func(t *testing.T) {
		count := uint64(long(50_000, 10_000))
		together(t, count, func(p *producer.Producer, _ *ring.Mapping) {
			run(t, p, producer.Job{Op: producer.Output, Count: count, Size: 16, MaxSize: 200, RetryFull: true})
		})
	})
	t.Run("one record at a time", func(t *testing.T) {
		const count = 500
		together(t, count, func(p *producer.Producer, o *ring.Mapping) {
			for seq := range uint64(count) {
				run(t, p, producer.Job{Op: producer.Output, Seq: seq, Count: 1, Size: 16})
				drained(o)
			}
		})
	})
}

// drained returns once the ring is empty.
func drained(o *ring.Mapping) {
	for o.ConsumerPos() != o.ProducerPos() {
		runtime.Gosched()
	}
}

// together has two shared Readers read count records that produce produces.
func together(t *testing.T, count uint64, produce func(*producer.Producer, *ring.Mapping)) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	var mu sync.Mutex
	seen, twice := make([]bool, count), 0
	note := func(rec consumer.Record) error {
		seq := binary.LittleEndian.Uint64(rec.Data)
		if err := producer.Verify(seq, rec.Data); err != nil {
			return fmt.Errorf("record %d: %w", seq, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if seen[seq] {
			twice++
		}
		seen[seq] = true
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var readers sync.WaitGroup
	for range 2 {
		r := reader(t, m, consumer.Options{Shared: true})
		readers.Go(func() {
			for {
				rec, err := r.Read(ctx)
				if errors.Is(err, context.Canceled) {
					return
				}
				if err == nil {
					err = note(rec)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	o := observe(t, m)
	produce(p, o)
	drained(o)
	cancel()
	readers.Wait()
	if i := slices.Index(seen, false); i >= 0 {
		t.Errorf("record %d was lost", i)
	}
	t.Logf("%d of %d records were read twice", twice, count)
}

// A shared Reader that was open all the time resumes where another Reader has stopped.
func TestSharedReadersTakeTurns(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	readers := []*consumer.Reader{reader(t, m, consumer.Options{Shared: true}), reader(t, m, consumer.Options{Shared: true})}
	var want []uint64
	for turn := range uint64(6) {
		run(t, p, producer.Job{Op: producer.Output, Seq: 2 * turn, Count: 2, Size: 16})
		r := readers[turn%2]
		rec, err := r.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := producer.Verify(2*turn, rec.Data); err != nil {
			t.Error(err)
		}
		want = append(want[:0], 2*turn+1)
		if got := seqs(t, r, 0); !slices.Equal(got, want) {
			t.Errorf("turn %d: the pass has records %v, want %v", turn, got, want)
		}
	}
}

// TryRead does not publish a record with BeforePublish before it has returned the record to its
// caller.
func TestSharedReaderPublishesNoRecordBeforeItsOwnerHasIt(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	had, published := 0, 0
	r := reader(t, m, consumer.Options{Shared: true, BeforePublish: func() error { published = had; return nil }})
	for _, size := range []uint32{16, testenv.PageSize / 2} {
		run(t, p, producer.Job{Op: producer.Output, Count: 1, Size: size})
		if _, err := r.TryRead(); err != nil {
			t.Fatal(err)
		}
		had++
	}
	if o := observe(t, m); published != 1 || o.ConsumerPos() != 24 {
		t.Errorf("%d records published, consumer position %d", published, o.ConsumerPos())
	}
}
