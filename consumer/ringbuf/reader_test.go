package ringbuf_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	cilium "github.com/cilium/ebpf/ringbuf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer/ringbuf"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

const ringSize = 64 << 10

// open returns a Reader of a new ring and a Producer for it, closed when the test ends.
func open(t *testing.T) (*ringbuf.Reader, *producer.Producer) {
	t.Helper()
	events := testenv.Ring(t, ringSize)
	r, err := ringbuf.NewReader(events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, load(t, events)
}

func load(t *testing.T, m *ebpf.Map) *producer.Producer {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// produce produces count records, numbered from seq. Every third record is discarded.
func produce(t *testing.T, p *producer.Producer, seq, count uint64) {
	t.Helper()
	job := producer.Job{Op: producer.Reserve, Seq: seq, Count: count, Size: 40, DiscardEvery: 3}
	if res, err := p.Run(t.Context(), job); err != nil || res.Failed > 0 {
		t.Fatalf("%d records did not fit: %v", res.Failed, err)
	}
}

func hold(t *testing.T, p *producer.Producer) *producer.Held {
	t.Helper()
	h, err := p.Hold(0, 16)
	testenv.SkipIfNotSupported(t, "ringbuf-hold", err)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// reading starts a Read and returns, once it waits, the channel on which its error comes.
func reading(r *ringbuf.Reader) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := r.Read()
		result <- err
	}()
	return result
}

func asleep(t *testing.T) { testenv.Asleep(t, "consumer.(*Reader).Wait") }

// reader has the methods of the Readers of both packages.
type reader[Record any] interface {
	AvailableBytes() int
	BufferSize() int
	Close() error
	Flush() error
	Read() (Record, error)
	ReadInto(*Record) error
	SetDeadline(time.Time)
}

// This package has all exported names of the original, with the same signatures.
func TestSameNames(t *testing.T) {
	if cilium.ErrClosed != ringbuf.ErrClosed || cilium.ErrFlushed != ringbuf.ErrFlushed {
		t.Error("the errors are other values")
	}
	if !reflect.TypeFor[cilium.Record]().ConvertibleTo(reflect.TypeFor[ringbuf.Record]()) {
		t.Error("Record has other fields")
	}
	var _ func(*ebpf.Map) (*cilium.Reader, error) = cilium.NewReader
	var _ func(*ebpf.Map) (*ringbuf.Reader, error) = ringbuf.NewReader
	var _ reader[cilium.Record] = (*cilium.Reader)(nil)
	var _ reader[ringbuf.Record] = (*ringbuf.Reader)(nil)
	want, got := reflect.TypeFor[*cilium.Reader](), reflect.TypeFor[*ringbuf.Reader]()
	if want.NumMethod() != got.NumMethod() {
		t.Errorf("%d methods, want %d", got.NumMethod(), want.NumMethod())
	}
}

// Both Readers return the same results from equal rings, whatever the order of production and
// consumption.
func TestSameAsCilium(t *testing.T) {
	testenv.NoLeaks(t)
	ours, p := open(t)
	events := testenv.Ring(t, ringSize)
	theirs, err := cilium.NewReader(events)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	q := load(t, events)

	random := rand.New(rand.NewPCG(1, 2))
	var want cilium.Record
	var got ringbuf.Record
	for seq, rounds := uint64(0), 0; rounds < 200; rounds++ {
		count := random.Uint64N(100)
		produce(t, p, seq, count)
		produce(t, q, seq, count)
		seq += count
		for range random.IntN(200) {
			if got, want := ours.AvailableBytes(), theirs.AvailableBytes(); got != want {
				t.Fatalf("%d bytes available, want %d", got, want)
			}
			now := time.Now()
			ours.SetDeadline(now)
			theirs.SetDeadline(now)
			wantErr, gotErr := theirs.ReadInto(&want), ours.ReadInto(&got)
			if wantErr == nil && gotErr == nil {
				if diff := cmp.Diff(want, cilium.Record(got)); diff != "" {
					t.Fatal(diff)
				}
				continue
			}
			if !errors.Is(wantErr, os.ErrDeadlineExceeded) || !errors.Is(gotErr, os.ErrDeadlineExceeded) {
				t.Fatalf("error %v, want %v", gotErr, wantErr)
			}
			break
		}
		if free := ringSize - ours.AvailableBytes(); free < ringSize/8+100*48 {
			drain(t, ours, theirs)
		}
	}
	if got, want := ours.BufferSize(), theirs.BufferSize(); got != want {
		t.Errorf("a buffer of %d bytes, want %d", got, want)
	}
}

// drain reads all records from both Readers until each returns ErrFlushed.
func drain(t *testing.T, ours *ringbuf.Reader, theirs *cilium.Reader) {
	t.Helper()
	ours.SetDeadline(time.Time{})
	theirs.SetDeadline(time.Time{})
	if err := errors.Join(ours.Flush(), theirs.Flush()); err != nil {
		t.Fatal(err)
	}
	for {
		want, wantErr := theirs.Read()
		got, gotErr := ours.Read()
		if wantErr == ringbuf.ErrFlushed && gotErr == ringbuf.ErrFlushed {
			return
		}
		if wantErr != nil || gotErr != nil {
			t.Fatalf("error %v, want %v", gotErr, wantErr)
		}
		if diff := cmp.Diff(want, cilium.Record(got)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestARecordBeingWritten(t *testing.T) {
	t.Run("a deadline ends the wait for it", func(t *testing.T) {
		r, p := open(t)
		hold(t, p)
		r.SetDeadline(time.Now().Add(time.Millisecond))
		if _, err := r.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read() = %v", err)
		}
	})
	t.Run("Close ends the wait for it", func(t *testing.T) {
		r, p := open(t)
		hold(t, p)
		result := reading(r)
		asleep(t)
		r.Close()
		if err := <-result; !errors.Is(err, ringbuf.ErrClosed) {
			t.Errorf("Read() = %v", err)
		}
	})
	t.Run("Flush waits for the complete ones behind it", func(t *testing.T) {
		r, p := open(t)
		produce(t, p, 1, 1)
		h := hold(t, p)
		produce(t, p, 1, 1)
		if err := r.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(); err != nil {
			t.Fatal(err)
		}
		result := reading(r)
		asleep(t)
		if err := h.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err != nil {
			t.Errorf("Read() = %v", err)
		}
		if _, err := r.Read(); err != nil {
			t.Errorf("Read() = %v", err)
		}
		if _, err := r.Read(); err != ringbuf.ErrFlushed {
			t.Errorf("Read() = %v", err)
		}
	})
}

func TestWhatEndsARead(t *testing.T) {
	tests := []struct {
		rule string
		end  func(*ringbuf.Reader) error
		want error
	}{
		{"a deadline set meanwhile", func(r *ringbuf.Reader) error { r.SetDeadline(time.Now()); return nil }, os.ErrDeadlineExceeded},
		{"Flush", (*ringbuf.Reader).Flush, ringbuf.ErrFlushed},
		{"Close", (*ringbuf.Reader).Close, os.ErrClosed},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			r, _ := open(t)
			result := reading(r)
			asleep(t)
			if err := tt.end(r); err != nil {
				t.Fatal(err)
			}
			if err := <-result; !errors.Is(err, tt.want) {
				t.Errorf("Read() = %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("a deadline that is removed does not", func(t *testing.T) {
		r, p := open(t)
		r.SetDeadline(time.Now().Add(time.Hour))
		result := reading(r)
		asleep(t)
		r.SetDeadline(time.Time{})
		asleep(t)
		produce(t, p, 0, 1)
		if err := <-result; err != nil {
			t.Errorf("Read() = %v", err)
		}
	})
}

// After a large record was read, or after Read has found no more records, as many bytes fit into
// the ring as with cilium/ebpf.
func TestRoomForTheNextRecords(t *testing.T) {
	tests := []struct {
		rule  string
		count uint64
		size  uint32
		last  func(*ringbuf.Reader) error // called before the last Read, unless nil
		want  error
	}{
		{"a large record", 1, 40 << 10, nil, nil},
		{"a passed deadline", 7, ringSize/8 - 8, func(r *ringbuf.Reader) error { r.SetDeadline(time.Now()); return nil }, os.ErrDeadlineExceeded},
		{"Flush", 7, ringSize/8 - 8, (*ringbuf.Reader).Flush, ringbuf.ErrFlushed},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			r, p := open(t)
			for range 3 {
				res, err := p.Run(t.Context(), producer.Job{Count: tt.count, Size: tt.size})
				if err != nil || res.Failed > 0 {
					t.Fatalf("%d of %d records did not fit: %v", res.Failed, tt.count, err)
				}
				r.SetDeadline(time.Now().Add(time.Minute))
				for range tt.count {
					if _, err := r.Read(); err != nil {
						t.Fatal(err)
					}
				}
				if tt.last == nil {
					continue
				}
				if err := tt.last(r); err != nil {
					t.Fatal(err)
				}
				if _, err := r.Read(); !errors.Is(err, tt.want) {
					t.Fatalf("Read() = %v, want %v", err, tt.want)
				}
			}
		})
	}
}

func TestOnlyRingBuffers(t *testing.T) {
	m := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if r, err := ringbuf.NewReader(m); err == nil {
		r.Close()
		t.Error("a Reader of an array")
	}
}
