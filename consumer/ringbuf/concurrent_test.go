package ringbuf_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/consumer/ringbuf"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// All methods are safe for concurrent use, Close included.
func TestConcurrentUse(t *testing.T) {
	testenv.NoLeaks(t)
	for range 20 {
		r, p := open(t)
		produce(t, p, 0, 300)
		var users sync.WaitGroup
		for range 2 {
			users.Go(func() {
				for {
					if _, err := r.Read(); errors.Is(err, ringbuf.ErrClosed) {
						return
					} else if err != nil && err != ringbuf.ErrFlushed {
						t.Error(err)
						return
					}
				}
			})
		}
		users.Go(func() {
			for r.Flush() == nil {
				r.SetDeadline(time.Time{})
				if n := r.AvailableBytes(); n < 0 || n > ringSize {
					t.Errorf("%d bytes available", n)
				}
			}
		})
		for r.AvailableBytes() > 0 {
			runtime.Gosched()
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		users.Wait()
	}
}

func TestAfterClose(t *testing.T) {
	r, p := open(t)
	produce(t, p, 0, 10)
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close() = %v", err)
		}
	}
	if err := r.Flush(); !errors.Is(err, ringbuf.ErrClosed) {
		t.Errorf("Flush() = %v", err)
	}
	r.SetDeadline(time.Now())
	if _, err := r.Read(); !errors.Is(err, ringbuf.ErrClosed) {
		t.Errorf("Read() = %v", err)
	}
	if n := r.AvailableBytes(); n != 0 {
		t.Errorf("AvailableBytes() = %d", n)
	}
	if n := r.BufferSize(); n != ringSize {
		t.Errorf("BufferSize() = %d", n)
	}
}

// A ring can be opened while it has a Reader, claimed or not. The new Reader resumes where the
// other Reader has stopped.
func TestReadersTakeTurns(t *testing.T) {
	events := testenv.Ring(t, ringSize)
	p := load(t, events)
	owner, err := consumer.NewReader(events, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer owner.Close()
	var readers []*ringbuf.Reader
	for range 3 {
		r, err := ringbuf.NewReader(events)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readers = append(readers, r)
	}
	produce(t, p, 0, 1)
	for range owner.Pass(0) {
	}
	if err := errors.Join(owner.Err(), owner.Close()); err != nil {
		t.Fatal(err)
	}
	for i, seq := range []uint64{3, 4, 6} { // record 5 is discarded
		produce(t, p, seq, 1)
		rec, err := readers[i].Read()
		if err != nil {
			t.Fatal(err)
		}
		if err := producer.Verify(seq, rec.RawSample); err != nil {
			t.Error(err)
		}
		if err := readers[i].Close(); err != nil {
			t.Error(err)
		}
	}
}
