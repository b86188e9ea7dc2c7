package consumer_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// forever is longer than any test runs.
const forever = time.Hour

// places are the states in which a reading goroutine can be when Close or the end of its context
// ends its call.
var places = []struct {
	name string
	opts consumer.Options
	busy bool // a BUSY record is at the head
	in   func(tb testing.TB)
}{
	{"asleep", consumer.Options{}, false, asleep},
	{"asleep without a timer", consumer.Options{Timer: -1}, false, asleep},
	{"asleep at a BUSY record", consumer.Options{}, true, asleep},
	{"looking for a record without sleep", consumer.Options{BusyPoll: forever}, false, inside("consumer.spin")},
	{"looking at a BUSY record without sleep", consumer.Options{BusyPoll: forever}, true, inside("consumer.spin")},
	{"pausing while it holds space back", consumer.Options{Coalesce: forever}, false, inside("consumer.pause")},
}

func asleep(tb testing.TB) { testenv.Asleep(tb, "syscall.(*Poller).Wait") }

func inside(function string) func(testing.TB) {
	return func(tb testing.TB) { testenv.Inside(tb, function) }
}

// ends are what can end a waiting call, with the error that the call then returns.
var ends = []struct {
	name string
	end  func(close func() error, cancel context.CancelFunc)
	err  error
}{
	{"Close", func(close func() error, _ context.CancelFunc) { close() }, os.ErrClosed},
	{"the end of the context", func(_ func() error, cancel context.CancelFunc) { cancel() }, context.Canceled},
}

// kinds are the types that can be read from: their waiting methods and Close.
var kinds = []struct {
	name string
	open func(tb testing.TB, m *ebpf.Map, opts consumer.Options) (wait func(context.Context) error, close func() error)
}{
	{"Reader.Wait", func(tb testing.TB, m *ebpf.Map, opts consumer.Options) (func(context.Context) error, func() error) {
		r := reader(tb, m, opts)
		for range r.Pass(0) {
		}
		return r.Wait, r.Close
	}},
	{"Reader.Records", func(tb testing.TB, m *ebpf.Map, opts consumer.Options) (func(context.Context) error, func() error) {
		r := reader(tb, m, opts)
		return func(ctx context.Context) (end error) {
			for _, err := range r.Records(ctx) {
				end = err
			}
			return end
		}, r.Close
	}},
	{"Reader.Read", func(tb testing.TB, m *ebpf.Map, opts consumer.Options) (func(context.Context) error, func() error) {
		r := reader(tb, m, opts)
		return func(ctx context.Context) error {
			for {
				if _, err := r.Read(ctx); err != nil {
					return err
				}
			}
		}, r.Close
	}},
	{"Group.Wait", func(tb testing.TB, m *ebpf.Map, opts consumer.Options) (func(context.Context) error, func() error) {
		g := group(tb, opts, m)
		for range g.Pass(0) {
		}
		return g.Wait, g.Close
	}},
	{"Group.Records", func(tb testing.TB, m *ebpf.Map, opts consumer.Options) (func(context.Context) error, func() error) {
		g := group(tb, opts, m)
		return func(ctx context.Context) (end error) {
			for _, err := range g.Records(ctx) {
				end = err
			}
			return end
		}, g.Close
	}},
}

func TestWaitsEnd(t *testing.T) {
	for i, kind := range kinds {
		for j, place := range places {
			for k, end := range ends {
				if testing.Short() && (i+j+k)%2 == 0 {
					continue
				}
				t.Run(kind.name+" "+place.name+" ends with "+end.name, func(t *testing.T) {
					testenv.NoLeaks(t)
					m := testenv.Ring(t, testenv.PageSize)
					p := load(t, m)
					run(t, p, ten)
					if place.busy {
						hold(t, p, 10)
					}
					wait, close := kind.open(t, m, place.opts)
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					ended := make(chan error, 1)
					go func() { ended <- wait(ctx) }()
					place.in(t)
					end.end(close, cancel)
					if err := <-ended; !errors.Is(err, end.err) {
						t.Errorf("error %v, want %v", err, end.err)
					}
				})
			}
		}
	}
}

func TestWaitsEndAtADeadline(t *testing.T) {
	for i, kind := range kinds {
		for j, place := range places {
			if testing.Short() && (i+j)%2 == 0 {
				continue
			}
			t.Run(kind.name+" "+place.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := testenv.Ring(t, testenv.PageSize)
				p := load(t, m)
				run(t, p, ten)
				if place.busy {
					hold(t, p, 10)
				}
				wait, _ := kind.open(t, m, place.opts)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				defer cancel()
				if err := wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
			})
		}
	}
}

// If its context is done, a call fails even if there is a record to read.
func TestEndedContextReadsNothing(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			wait, _ := kind.open(t, m, consumer.Options{})
			run(t, load(t, m), ten)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := wait(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A pass in progress may finish after Close. The ring is unmapped when the pass ends.
func TestCloseDuringAPass(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p, o := load(t, m), observe(t, m)
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 100})
	before := mapped(t)
	r := reader(t, m, consumer.Options{})
	var got uint64
	for rec := range r.Pass(0) {
		if got == 30 {
			closed := make(chan error)
			go func() { closed <- r.Close() }()
			if err := <-closed; err != nil {
				t.Error(err)
			}
			checkClosed(t, r)
		}
		if n := seq(t, rec); n != got {
			t.Errorf("record %d, want %d", n, got)
		}
		got++
		if mapped(t) == before {
			t.Fatal("unmapped in the middle of a pass")
		}
	}
	if got != 100 || o.ConsumerPos() != 100*24 {
		t.Errorf("%d records, consumer position %d", got, o.ConsumerPos())
	}
	if now := mapped(t); now > before {
		t.Errorf("%d mappings are left after the pass", now-before)
	}
	checkClosed(t, r)
}

func TestCloseDuringRecords(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	run(t, load(t, m), ten)
	r := reader(t, m, consumer.Options{})
	var got []uint64
	var end error
	for rec, err := range r.Records(t.Context()) {
		if err != nil {
			end = err
			continue
		}
		got = append(got, seq(t, rec))
		r.Close()
	}
	if len(got) != 10 || !errors.Is(end, os.ErrClosed) {
		t.Errorf("records %d, then %v", got, end)
	}
}

// checkClosed calls all methods of a closed Reader and checks their errors.
func checkClosed(t *testing.T, r *consumer.Reader) {
	t.Helper()
	check := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	check("Wait", r.Wait(t.Context()))
	_, err := r.Read(t.Context())
	check("Read", err)
	for range r.Pass(0) {
		t.Error("Pass has a record after Close")
	}
	check("Pass", r.Err())
	turns := 0
	for _, err := range r.Records(t.Context()) {
		check("Records", err)
		turns++
	}
	if turns != 1 {
		t.Errorf("Records has %d turns after Close", turns)
	}
	_, err = r.Stats()
	check("Stats", err)
	if err := r.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	run(t, load(t, m), ten)
	before := mapped(t)
	r := reader(t, m, consumer.Options{})
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if now := mapped(t); now > before {
		t.Errorf("%d mappings are left", now-before)
	}
	checkClosed(t, r)
}

// Two goroutines call Close at any time, while a third calls Stats and a producer floods the ring.
// A fault would end the process.
func TestCloseAtAnyTime(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	ctx, stop := context.WithCancel(t.Context())
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		job := producer.Job{Op: producer.Output, Size: 8, MaxSize: 500, Count: 1 << 40, RetryFull: true}
		if _, err := p.Run(ctx, job); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	options := []consumer.Options{{}, {Timer: -1}, {Coalesce: 20 * time.Microsecond}, {BusyPoll: 20 * time.Microsecond}}
	for round := range long(200, 20) {
		r, err := consumer.NewReader(m, options[round%len(options)])
		if err != nil {
			t.Fatal(err)
		}
		read, asked := readAll(t, ctx, r), askForStats(r)
		for seen := uint64(round % 50); ; runtime.Gosched() {
			if s, err := r.Stats(); err != nil || s.Records >= seen {
				break
			}
		}
		closed := make(chan error, 2)
		for range 2 {
			go func() { closed <- r.Close() }()
		}
		for range 2 {
			if err := <-closed; err != nil {
				t.Error(err)
			}
		}
		for _, c := range []<-chan error{read, asked} {
			if err := <-c; !errors.Is(err, os.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		}
	}
	stop()
	<-flood
}

// readAll reads records from r and checks their order until an error ends the loop. It sends that
// error.
func readAll(t *testing.T, ctx context.Context, r *consumer.Reader) <-chan error {
	ended := make(chan error, 1)
	go func() {
		var end error
		last := uint64(0)
		for rec, err := range r.Records(ctx) {
			if end = err; err == nil {
				if n := seq(t, rec); n < last {
					t.Errorf("record %d after %d", n, last)
				} else {
					last = n
				}
			}
		}
		ended <- end
	}()
	return ended
}

// askForStats calls Stats until it fails, and sends the error.
func askForStats(r *consumer.Reader) <-chan error {
	ended := make(chan error, 1)
	go func() {
		for ; ; runtime.Gosched() {
			if _, err := r.Stats(); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// The garbage collector closes a Reader that the program does not close.
func TestForgottenReader(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 2)
	before := mapped(t)
	if _, err := consumer.NewReader(maps[0], consumer.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := consumer.NewGroup([]*ebpf.Map{maps[1]}, consumer.Options{}); err != nil {
		t.Fatal(err)
	}
	untilMapped(t, before)
}
