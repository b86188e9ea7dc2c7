package userprod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/testenv"
)

// Samples of several sizes are written from all offsets in the ring, and several numbers of them
// are published at once.
func TestSamples(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 1<<16)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	seq := uint32(0)
	for _, n := range []int{16, 17, 64, 500, 4088} {
		for together := range 5 {
			for _, count := range []int{0, 1, 2, 3, 100} {
				t.Run(fmt.Sprintf("%d samples of %d bytes, %d together", count, n, together), func(t *testing.T) {
					fit := ringSize / ((n + 8 + 7) &^ 7)
					b := begin(p)
					defer b.End()
					written := 0
					for room := range b.Samples(over, n, together) {
						if written == count {
							break
						}
						if len(room) != n || cap(room) != n {
							t.Fatalf("%d bytes of room, %d with its capacity", len(room), cap(room))
						}
						usercheck.Fill(room, 0, seq)
						seq++
						written++
					}
					want, err := min(count, fit), error(nil)
					if count >= fit { // there is no room for another sample
						err = context.Canceled
					}
					if written != want || b.Err() != err {
						t.Fatalf("%d written, %v; want %d, %v", written, b.Err(), want, err)
					}
					published := 0
					if together > 0 {
						published = want - want%together
					}
					if err != nil { // the loop publishes before it waits for room
						published = want
					}
					if got := drain(t, c); got != published {
						t.Errorf("%d samples came before the end of the batch, want %d", got, published)
					}
					if err := b.End(); err != nil {
						t.Fatal(err)
					}
					if got := drain(t, c); got != want-published {
						t.Errorf("%d samples came after the end of the batch, want %d", got, want-published)
					}
				})
			}
		}
	}
	if n := counts(t, c); n.Samples != uint64(seq) {
		t.Errorf("%d samples came, %d written", n.Samples, seq)
	}
}

// The loop uses the room that the kernel frees during the loop. Other calls may follow the loop.
func TestSamplesGoAroundTheRing(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 1<<12)
	b := begin(p)
	defer b.End()
	seq := uint32(0)
	for room := range b.Samples(t.Context(), 100, 3) {
		usercheck.Fill(room, 0, seq)
		if seq++; seq == 3000 {
			break // drops this sample
		}
		if seq%30 == 0 {
			drain(t, c)
		}
	}
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	b.Drop() // nothing to drop
	room, err := b.TryNext(50)
	if err != nil {
		t.Fatal(err)
	}
	usercheck.Fill(room, 0, 2999)
	if err := b.End(); err != nil {
		t.Fatal(err)
	}
	drain(t, c)
	if n := counts(t, c); n.Samples != 3000 {
		t.Errorf("%d of 3000 samples came", n.Samples)
	}
}

func TestWhatEndsSamples(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p := producer(t, m, Options{})
	loop := func(n int, do func()) error {
		b := begin(p)
		defer b.End()
		for range b.Samples(t.Context(), n, 1) {
			do()
		}
		return b.Err()
	}
	nothing := func() {}
	for _, n := range []int{largest + 1, 1 << 30, -1} {
		if err := loop(n, nothing); !errors.Is(err, ErrTooLarge) {
			t.Errorf("rooms of %d bytes: %v", n, err)
		}
	}
	if err := loop(8, func() { onRing(t, m, setProducer(1<<40)) }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a producer position moved: %v", err)
	}
	p.Close()
	p = producer(t, userRing(t, testenv.PageSize), Options{})
	if err := loop(8, func() { p.Close() }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	p = producer(t, userRing(t, testenv.PageSize), Options{})
	b := begin(p)
	for range b.Samples(t.Context(), 8, 1) {
		b.End() // as a deferred End does after a panic in the loop body
	}
	if b.Err() != errEnded {
		t.Errorf("ended in the loop: %v", b.Err())
	}
	for range b.Samples(t.Context(), 8, 1) {
		t.Error("a batch that has ended has room")
	}
	if b.Err() != errEnded {
		t.Errorf("a batch that has ended: %v", b.Err())
	}
}

// In the loop body, calls that would disturb the loop fail.
func TestALoopHasItsBatchForItself(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	for _, together := range []int{0, 1, 2} {
		b := begin(p)
		n := 0
		for room := range b.Samples(t.Context(), 16, together) {
			if n++; n > 5 {
				break
			}
			usercheck.Fill(room, 0, uint32(5*together+n))
			if _, err := b.TryNext(8); err != errLooping {
				t.Errorf("Next: %v", err)
			}
			if _, err := appendAll(b, []int{1}); err != errLooping {
				t.Errorf("Append: %v", err)
			}
			for range b.Samples(t.Context(), 8, 1) {
				t.Error("a loop in a loop")
			}
			b.Drop()
			if err := b.Publish(); err != errLooping {
				t.Errorf("Publish: %v", err)
			}
		}
		if _, err := b.TryNext(8); err != nil {
			t.Errorf("Next after the loop: %v", err)
		}
		b.Drop()
		if err := b.End(); err != nil {
			t.Error(err)
		}
		if got := drain(t, c); got != 5 {
			t.Errorf("%d together: %d of 5 samples came", together, got)
		}
	}
	counts(t, c)
}

// A panic in the loop body drops the samples that the loop has not published, and no other samples.
func TestABatchIsEndedInALoop(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	seq := uint32(0)
	for _, tt := range []struct{ before, rooms, together, want int }{
		{0, 5, 0, 0}, {2, 5, 0, 2}, {2, 5, 2, 6}, {0, 3, 1, 2}, {1, 1, 1, 1},
	} {
		func() {
			defer func() { recover() }()
			b := begin(p)
			defer b.End()
			for range tt.before {
				room, err := b.TryNext(16)
				if err != nil {
					t.Fatal(err)
				}
				usercheck.Fill(room, 0, seq)
				seq++
			}
			n := 0
			for room := range b.Samples(t.Context(), 32, tt.together) {
				usercheck.Fill(room, 0, seq)
				seq++
				if n++; n == tt.rooms {
					panic("in the loop")
				}
			}
		}()
		if got := drain(t, c); got != tt.want {
			t.Errorf("%+v: %d came", tt, got)
		}
		if err := p.TryWrite(nil); err != nil {
			t.Errorf("%+v: a write after it: %v", tt, err)
		}
		drain(t, c)
	}
	counts(t, c)
}
