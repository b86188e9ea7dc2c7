package cli

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/internal/userring"
)

// The maximum number of producers in a round, and of samples of each.
const (
	soakWorkers = 32
	soakSeqs    = 1 << 17
)

// userSoak is a soak of one USER_RINGBUF.
type userSoak struct {
	*soak
	ring    *ebpf.Map
	id      string
	checker *usercheck.Checker // checks the samples of this round
	workers []*worker          // producers of this round, by their number
}

// worker is an actor that produces, with what the soak knows about its samples.
type worker struct {
	*actor
	input *soakInput // input of rbtool produce; nil if the worker uses the library
	mode  string
	acked []uint32 // numbers of the samples that a worker has committed through the library
}

// Producers into a user ring run inside and outside of pid namespaces. They are killed, stopped,
// interrupted and restarted. After each round, every committed sample has been drained, once and
// complete, and the ring still accepts samples.
func TestSoakOfProducers(t *testing.T) {
	t.Parallel()
	s := &userSoak{soak: newSoak(t)}
	size := uint32(os.Getpagesize()) << s.rng.IntN(3)
	s.ring = testenv.Map(t, &ebpf.MapSpec{Name: "test_user", Type: ebpf.UserRingbuf, MaxEntries: size})
	s.id = fmt.Sprint(mapID(t, s.ring))
	s.run(s.round)
}

func (s *userSoak) round() {
	var err error
	if s.checker, err = usercheck.Load(s.ring, soakWorkers, soakSeqs); err != nil {
		s.t.Fatal(err)
	}
	defer s.checker.Close()
	s.workers = nil
	if s.rng.IntN(4) == 0 {
		s.respected()
	}
	ctx, stop := context.WithCancel(s.t.Context())
	var draining sync.WaitGroup
	rng := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
	draining.Go(func() { s.drain(ctx, rng) })
	for range 6 + s.rng.IntN(12) {
		s.act()
		s.moment()
		s.collect(s.judge)
	}
	s.killAll(s.judge)
	s.usable()
	stop()
	draining.Wait()
	s.account()
}

// act disturbs a random producer in a random way.
func (s *userSoak) act() {
	a := s.any()
	switch n := s.rng.IntN(16); {
	case a == nil || n < 5 && len(s.actors) < 4:
		s.produce(s.somewhere())
	case n < 9:
		s.disturb(a)
	case n < 12 && a.kind == "soak-write":
		sig := []unix.Signal{unix.SIGUSR1, unix.SIGUSR2}[s.rng.IntN(2)]
		a.signal(sig)
		s.count(sig.String())
	case n < 13:
		if w := s.workerOf(a); w.input != nil {
			w.input.stop()
			s.count("end of input")
		}
	case n < 14:
		// Kill all producers before stealing: a live one would still write into memory that the thief
		// reserves.
		s.killAll(s.judge)
		if s.count("stolen from the dead"); s.rng.IntN(2) == 0 {
			s.library(s.somewhere(), true)
		} else {
			s.command(s.somewhere(), "wait", 1<<30, "--steal")
		}
	default:
		a.signal(unix.SIGCONT)
	}
}

func (s *userSoak) workerOf(a *actor) *worker {
	for _, w := range s.workers {
		if w.actor == a {
			return w
		}
	}
	return nil
}

// produce starts a random kind of producer.
func (s *userSoak) produce(p *place) *worker {
	if s.rng.IntN(3) == 0 {
		return s.library(p, false)
	}
	return s.command(p, []string{"wait", "drop", "fail"}[s.rng.IntN(3)], 1<<30)
}

// library starts a producer that uses package userprod.
func (s *userSoak) library(p *place, steal bool) *worker {
	w := &worker{}
	w.actor = s.start(p, w.acks, nil, "soak-write", s.id, strconv.Itoa(len(s.workers)), "0", claimWord(steal), strconv.Itoa(s.rng.IntN(1<<30)))
	s.workers = append(s.workers, w)
	return w
}

// acks reads the numbers of committed samples that a worker prints.
func (w *worker) acks(r *bufio.Reader) error {
	for {
		var seq [4]byte
		if _, err := io.ReadFull(r, seq[:]); err != nil {
			return cutOff(err)
		}
		w.acked = append(w.acked, binary.LittleEndian.Uint32(seq[:]))
	}
}

// command starts rbtool produce and writes at most limit samples to its input. The input stays open
// until it is stopped.
func (s *userSoak) command(p *place, mode string, limit uint32, flags ...string) *worker {
	r, in, err := smallPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	w := &worker{mode: mode, input: newSoakInput(uint32(len(s.workers)), min(limit, soakSeqs), in, s.rng.Uint64())}
	nothing := func(r *bufio.Reader) error { return nil }
	args := append([]string{"rbtool", "produce", "--user", "id:" + s.id, "--format", "lp32", "--on-full", mode}, flags...)
	w.actor = s.start(p, nothing, r, args...)
	r.Close()
	s.workers = append(s.workers, w)
	go w.input.run()
	return w
}

// soakInput is the standard input of rbtool produce.
type soakInput struct {
	worker, limit uint32
	w             *os.File
	rng           *rand.Rand
	quit          chan struct{}
	once          sync.Once
	done          chan struct{}
	fed           atomic.Uint32 // number of samples written so far
}

func newSoakInput(worker, limit uint32, w *os.File, seed uint64) *soakInput {
	return &soakInput{
		worker: worker, limit: limit, w: w, rng: rand.New(rand.NewPCG(seed, 0)),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// stop ends the input.
func (f *soakInput) stop() { f.once.Do(func() { close(f.quit) }) }

// run writes samples until stop is called or the command closes its end of the pipe.
func (f *soakInput) run() {
	defer close(f.done)
	defer f.w.Close()
	buf := make([]byte, 4+usercheck.MaxSize)
	for seq := range f.limit {
		select {
		case <-f.quit:
			return
		default:
		}
		n := usercheck.HeadSize + f.rng.IntN(400)
		binary.LittleEndian.PutUint32(buf, uint32(n))
		usercheck.Fill(buf[4:][:n], f.worker, seq)
		if _, err := f.w.Write(buf[:4+n]); err != nil {
			return
		}
		f.fed.Add(1)
		if f.rng.IntN(64) == 0 {
			command.Pause(context.Background(), time.Millisecond) // let produce wait for input: it publishes its samples before it waits
		}
	}
}

// drain makes the kernel drain samples, with pauses, until ctx is done.
func (s *userSoak) drain(ctx context.Context, rng *rand.Rand) {
	for {
		over := ctx.Err() != nil
		limit := uint64(rng.IntN(100))
		if over {
			limit = 0 // drain all samples
		}
		n, err := s.checker.Drain(0, limit)
		if err != nil {
			d, e := userring.Diagnose(s.ring)
			s.fault("the kernel cannot drain: %v; %+v, %v", err, d, e)
			return
		}
		if over && n == 0 {
			return
		}
		if n == 0 || rng.IntN(8) == 0 {
			command.Pause(ctx, time.Duration(rng.IntN(5000))*time.Microsecond)
		}
	}
}

// respected checks that other producers are refused while a producer is alive, even while it is stopped.
func (s *userSoak) respected() {
	holder := s.library(s.somewhere(), false)
	if !s.says(holder.actor, soakWriting) {
		return
	}
	if s.rng.IntN(2) == 0 {
		holder.signal(unix.SIGSTOP)
	}
	other := s.command(s.somewhere(), "fail", 1)
	s.wait(other.actor)
	if other.status != command.StatusBusy {
		s.fault("a ring whose producer lives was not refused: %v; its producer: %v", other, holder)
	}
	s.judge(other.actor)
	s.count("respected")
	s.killAll(s.judge)
}

// usable checks that the ring can be used after all producers have died.
func (s *userSoak) usable() {
	w := s.command(s.somewhere(), "wait", 100)
	s.wait(w.actor)
	s.judge(w.actor)
	if w.status != command.StatusDone {
		s.fault("produce after the round: %v", w)
	}
}

// judge records a fault unless a producer ended as it should.
func (s *userSoak) judge(a *actor) {
	w := s.workerOf(a)
	if w.input != nil {
		w.input.stop()
		<-w.input.done
	}
	s.count("status " + strconv.Itoa(a.status))
	if a.refusedByItself() {
		s.fault("refused by its own claim: %v", a)
	}
	ok := false
	switch a.status {
	case command.StatusBusy:
		ok = true
	case command.StatusDone:
		ok = w.input != nil || a.interrupted
	case command.StatusInterrupted:
		ok = a.interrupted && w.input != nil
	case command.StatusFailed:
		ok = w.mode == "fail"
	}
	if !ok && !a.wasKilled() {
		s.fault("a producer that was not killed failed: %v", a)
	}
	if a.outputErr != nil && !(errors.Is(a.outputErr, errCutOff) && a.wasKilled()) {
		s.fault("output: %v: %v", a.outputErr, a)
	}
}

// summaryLine matches the last line of produce.
var summaryLine = regexp.MustCompile(`(?m)^([0-9]+) samples, [0-9]+ bytes, ([0-9]+) dropped`)

// account compares the samples that were drained with those that the producers reported as committed.
func (s *userSoak) account() {
	counts, err := s.checker.Counts()
	if err != nil {
		s.t.Fatal(err)
	}
	s.add("samples", counts.Samples)
	if counts.Bad > 0 || counts.Twice > 0 || counts.Small > 0 {
		s.fault("samples are torn or came twice: %+v", counts)
	}
	d, err := userring.Diagnose(s.ring)
	if err != nil || d.Fault != nil || d.ConsumerPos != d.ProducerPos || d.Holder.State() != claim.Gone {
		s.fault("the ring is not empty, or not free: %+v, %v", d, err)
	}
	for n, w := range s.workers {
		came, err := s.checker.Seen(uint32(n))
		if err != nil {
			s.t.Fatal(err)
		}
		if err := w.compare(came); err != nil {
			s.fault("%v: %v", err, w)
		}
	}
}

// compare returns an error unless the drained samples of this worker are those that it wrote. came tells
// which numbers were drained.
func (w *worker) compare(came []bool) error {
	for _, seq := range w.acked {
		if !came[seq] {
			return fmt.Errorf("sample %d of %d is lost", seq, len(w.acked))
		}
	}
	if w.input == nil {
		return nil
	}
	total, prefix, fed := 0, 0, int(w.input.fed.Load())
	for seq, came := range came {
		if came {
			total++
			if prefix == seq {
				prefix++
			}
		}
	}
	if w.mode != "drop" && total != prefix {
		return fmt.Errorf("%d samples came, and %d before the first that did not", total, prefix)
	}
	m := summaryLine.FindSubmatch(w.said.bytes())
	if m == nil {
		if w.wasKilled() || w.status == command.StatusBusy && total == 0 {
			return nil
		}
		return fmt.Errorf("%d samples came, and it does not say how many it wrote", total)
	}
	wrote, dropped := number(string(m[1])), number(string(m[2]))
	if total != wrote || w.status == command.StatusDone && wrote+dropped != fed || wrote+dropped > fed+1 {
		return fmt.Errorf("%d samples came of %d written, %d dropped, %d that it was given", total, wrote, dropped, fed)
	}
	return nil
}
