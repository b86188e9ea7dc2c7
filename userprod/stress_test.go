package userprod

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/testenv"
)

// stressVar is the environment variable with the number of samples that each goroutine of
// TestManyGoroutines writes. With 1000000 the test takes some minutes.
const stressVar = "RBTOOL_STRESS_SAMPLES"

// Goroutines write samples of all sizes in all ways, and commit and discard them in random order.
// The kernel drains exactly the committed samples, and they are intact.
func TestManyGoroutines(t *testing.T) {
	const goroutines, longest = 8, 4000
	samples := long(20_000, 250)
	if n, err := strconv.Atoi(os.Getenv(stressVar)); err == nil {
		samples = n
	}
	for _, size := range []uint32{testenv.PageSize, 2 * testenv.PageSize, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			testenv.NoLeaks(t)
			m := userRing(t, size)
			p, c := producer(t, m, Options{}), checker(t, m, goroutines, samples)
			var all sync.WaitGroup
			var results [goroutines]worked
			for g := range results {
				all.Go(func() { results[g] = stress(t, p, uint32(g), samples, longest) })
			}
			stop := make(chan struct{})
			var drainer sync.WaitGroup
			drainer.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := c.Drain(0, 0); err != nil {
							t.Errorf("drain: %v", err)
							p.Close()
							return
						}
					}
				}
			})
			all.Wait()
			close(stop)
			drainer.Wait()
			drain(t, c)
			compare(t, c, results[:])
			s := stats(t, p)
			if s.Free != uint64(size) {
				t.Errorf("not all was drained: %+v", s)
			}
			t.Logf("%d waits, %d ended by the timer", s.Waits, s.Late)
		})
	}
}

// worked is the record of what a goroutine has written.
type worked struct {
	committed        []bool // whether the sample with this sequence number was committed
	small            int
	smallSum, bytes  uint64
	samples, discard int
}

func (w *worked) done(seq int, b []byte) {
	w.samples++
	w.bytes += uint64(len(b))
	if len(b) < usercheck.HeadSize {
		w.small++
		w.smallSum += usercheck.SmallSum(b)
		return
	}
	w.committed[seq] = true
}

// heldSample is a reserved sample and its number.
type heldSample struct {
	Sample
	seq int
}

// finish commits and discards samples in random order.
func (w *worked) finish(hand []heldSample, rng *rand.Rand) error {
	rng.Shuffle(len(hand), func(i, j int) { hand[i], hand[j] = hand[j], hand[i] })
	for _, s := range hand {
		if rng.IntN(4) == 0 {
			w.discard++
			if err := s.Discard(); err != nil {
				return err
			}
			continue
		}
		w.done(s.seq, s.Bytes())
		if err := s.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// stress writes the samples of one goroutine.
func stress(t *testing.T, p *Producer, worker uint32, samples, largest int) worked {
	w := worked{committed: make([]bool, samples)}
	rng := rand.New(rand.NewPCG(uint64(worker), 1))
	// A goroutine that waits for room while it has reserved samples could wait forever, so it
	// commits or discards those first.
	var hand []heldSample
	finish := func() error {
		err := w.finish(hand, rng)
		hand = hand[:0]
		return err
	}
	buf := make([]byte, largest)
	for seq := 0; seq < samples; seq++ {
		n := rng.IntN(largest + 1)
		if rng.IntN(2) == 0 {
			n = rng.IntN(64)
		}
		var err error
		switch rng.IntN(4) {
		case 0:
			if err = finish(); err == nil {
				usercheck.Fill(buf[:n], worker, uint32(seq))
				err = p.Write(t.Context(), buf[:n])
				w.done(seq, buf[:n])
			}
		case 1:
			if err = finish(); err == nil {
				seq, err = stressBatch(t, p, &w, worker, seq, samples, largest, rng)
			}
		default:
			var s Sample
			s, err = p.TryReserve(n)
			if err == ErrFull {
				if err = finish(); err == nil {
					s, err = p.Reserve(t.Context(), n)
				}
			}
			if err == nil {
				usercheck.Fill(s.Bytes(), worker, uint32(seq))
				hand = append(hand, heldSample{s, seq})
			}
			if err == nil && rng.IntN(4) == 0 {
				err = finish()
			}
		}
		if err != nil {
			t.Errorf("goroutine %d: %v", worker, err)
			return w
		}
	}
	if err := finish(); err != nil {
		t.Errorf("goroutine %d: %v", worker, err)
	}
	return w
}

// stressBatch writes some samples in a batch, numbered from seq, and returns the number of the
// last.
func stressBatch(t *testing.T, p *Producer, w *worked, worker uint32, seq, samples, largest int, rng *rand.Rand) (int, error) {
	b := begin(p)
	defer b.End()
	for range 1 + rng.IntN(10) {
		buf, err := b.Next(t.Context(), rng.IntN(largest+1)/8)
		if err != nil {
			return seq, err
		}
		usercheck.Fill(buf, worker, uint32(seq))
		if rng.IntN(8) == 0 {
			b.Drop()
		} else {
			w.done(seq, buf)
		}
		if rng.IntN(4) == 0 {
			if err := b.Publish(); err != nil {
				return seq, err
			}
		}
		if seq++; seq == samples {
			break
		}
	}
	return seq - 1, b.End()
}

// compare checks that the drained samples are the committed ones.
func compare(t *testing.T, c *usercheck.Checker, all []worked) {
	t.Helper()
	var want usercheck.Counts
	for worker, w := range all {
		want.Samples += uint64(w.samples)
		want.Bytes += w.bytes
		want.Small += uint64(w.small)
		want.SmallSum += w.smallSum
		came, err := c.Seen(uint32(worker))
		if err != nil {
			t.Fatal(err)
		}
		for seq := range came {
			if came[seq] != w.committed[seq] {
				t.Errorf("goroutine %d, sample %d: came %t, committed %t", worker, seq, came[seq], w.committed[seq])
				break
			}
		}
	}
	if got := counts(t, c); got != want {
		t.Errorf("came %+v\nwant %+v", got, want)
	}
}

// If many goroutines commit or discard the same sample, one of them succeeds.
func TestManyFinishOneSample(t *testing.T) {
	testenv.NoLeaks(t)
	m := userRing(t, testenv.PageSize)
	p, c := producer(t, m, Options{}), checker(t, m, 1, 64)
	commits := 0
	for round := range long(5000, 500) {
		s, err := p.TryReserve(8)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var won, committed atomic.Int32
		for i := range 4 {
			all.Go(func() {
				do := s.Discard
				commit := int32(i+round) % 2
				if commit == 1 {
					do = s.Commit
				}
				switch err := do(); {
				case err == nil:
					won.Add(1)
					committed.Add(commit)
				case err != ErrDone:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d goroutines finished it", won.Load())
		}
		commits += int(committed.Load())
		if n := drain(t, c); n != int(committed.Load()) {
			t.Fatalf("%d samples came, committed %d", n, committed.Load())
		}
	}
	t.Logf("%d committed", commits)
}
