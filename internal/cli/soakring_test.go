package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// ringSoak is a soak of one RINGBUF.
type ringSoak struct {
	*soak
	ring     *ebpf.Map
	id       string        // actors find the ring by id: a pin would remain if the test were killed
	memory   *ring.Mapping // a mapping of the ring, for checks
	pinger   *producer.Pinger
	ledger   ledger
	produced atomic.Uint64 // bytes that were written into the ring
}

// Consumers of a ring run inside and outside of pid namespaces. They are killed, stopped, restarted,
// robbed of the ring, and blocked at their output. After each round, no record is lost or torn, and the
// ring can still be filled and consumed.
func TestSoakOfConsumers(t *testing.T) {
	t.Parallel()
	s := &ringSoak{soak: newSoak(t)}
	size := uint32(os.Getpagesize()) << s.rng.IntN(3)
	s.ring = testenv.Ring(t, size)
	s.id = fmt.Sprint(mapID(t, s.ring))
	s.ledger = ledger{soak: s.soak, job: producer.Job{Op: producer.Output, Size: 8, MaxSize: 600}}
	p, err := producer.Load(s.ring)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	if s.pinger, err = p.Pinger(s.ledger.job); err != nil {
		t.Fatal(err)
	}
	if s.memory, err = ring.Observe(s.ring.FD(), uint64(size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.memory.Unmap() })
	s.run(s.round)
}

func (s *ringSoak) round() {
	switch s.rng.IntN(4) {
	case 0:
		s.respected()
	case 1:
		s.selfRobbed()
	}
	ctx, stop := context.WithCancel(s.t.Context())
	var producing sync.WaitGroup
	rng := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
	producing.Go(func() { s.produce(ctx, rng) })
	for range 6 + s.rng.IntN(12) {
		s.act()
		s.moment()
		s.collect(s.judge)
	}
	stop()
	producing.Wait()
	s.killAll(s.judge)
	s.usable()
}

// act disturbs a random consumer in a random way.
func (s *ringSoak) act() {
	a := s.any()
	switch n := s.rng.IntN(17); {
	case a == nil || n < 3 && len(s.actors) < 5:
		s.consume(s.rng.IntN(2) == 0)
	case n == 3 && len(s.actors) < 5:
		s.tail(s.ledger.observed, "-o", "raw", "--observe")
	case n < 6:
		s.rob()
	case n < 9:
		s.disturb(a)
	case n < 11:
		a.valve.close()
		s.count("blocked")
	case n < 13:
		a.valve.open()
	case n < 15 && a.kind == "soak-read":
		sig := []unix.Signal{unix.SIGUSR1, unix.SIGUSR2}[s.rng.IntN(2)]
		a.signal(sig)
		s.count(sig.String())
	default:
		a.signal(unix.SIGCONT)
	}
}

// consume starts a random kind of consumer.
func (s *ringSoak) consume(steal bool) *actor {
	switch s.rng.IntN(4) {
	case 0:
		return s.start(s.somewhere(), s.ledger.raw, nil, "soak-read", s.id, claimWord(steal), s.number())
	case 1:
		file := filepath.Join(s.dir, s.number())
		read := func(*bufio.Reader) error { return nil }
		a := s.start(s.somewhere(), read, nil, stealing(steal, "rbtool", "record", "id:"+s.id, file, "--no-decode")...)
		a.file = file
		return a
	case 2:
		return s.tail(s.ledger.raw, stealing(steal, "-o", "raw")...)
	default:
		return s.tail(s.ledger.json, stealing(steal, "-o", "json")...)
	}
}

// number returns a random number, for use as a seed or in a name.
func (s *ringSoak) number() string { return strconv.Itoa(s.rng.IntN(1 << 30)) }

// tail starts rbtool tail with flags.
func (s *ringSoak) tail(read func(*bufio.Reader) error, flags ...string) *actor {
	return s.start(s.somewhere(), read, nil, append([]string{"rbtool", "tail", "id:" + s.id, "--no-decode"}, flags...)...)
}

// claimWord is the argument that tells a worker how to claim its ring.
func claimWord(steal bool) string {
	if steal {
		return "steal"
	}
	return "exclusive"
}

func stealing(steal bool, args ...string) []string {
	if steal {
		return append(args, "--steal")
	}
	return args
}

// rob stops a consumer, or blocks its output, while another consumer steals the ring and the producer
// writes several times the size of the ring. Then the first consumer continues.
func (s *ringSoak) rob() {
	victim := s.consume(true)
	s.until(func() bool { return victim.over() || victim.valve.passed.Load() > 0 || victim.file != "" })
	if s.rng.IntN(2) == 0 {
		victim.valve.close()
	} else {
		s.moment()
		victim.signal(unix.SIGSTOP)
	}
	s.moment()
	s.consume(true)
	from, rounds := s.produced.Load(), uint64(1+s.rng.IntN(4))
	s.until(func() bool { return s.produced.Load()-from > rounds*s.memory.Size() })
	victim.valve.open()
	victim.signal(unix.SIGCONT)
	s.count("robbed")
}

// respected checks that other consumers are refused while a consumer is alive, even while it is stopped.
func (s *ringSoak) respected() {
	holder := s.lone()
	if holder == nil {
		return
	}
	if s.rng.IntN(2) == 0 {
		holder.signal(unix.SIGSTOP)
	}
	other := s.tail(s.ledger.raw, "-o", "raw", "--idle", "10ms")
	s.wait(other)
	if other.status != command.StatusBusy {
		s.fault("a ring whose consumer lives was not refused: %v; its consumer: %v", other, holder)
	}
	s.count("respected")
	s.killAll(s.judge)
}

// selfRobbed checks that a process still holds its claim after it steals the ring from itself and then
// calls execve.
func (s *ringSoak) selfRobbed() {
	holder := s.lone()
	if holder == nil {
		return
	}
	holder.signal(unix.SIGUSR2)
	if s.says(holder, soakRobbed) {
		r, err := consumer.NewReader(s.ring, consumer.Options{})
		if err == nil {
			r.Close()
		}
		if !errors.Is(err, consumer.ErrBusy) {
			s.fault("the claim of a process that robbed itself is gone (%v): %v", err, holder)
		}
	}
	holder.said.reset()
	holder.signal(unix.SIGUSR1)
	s.says(holder, soakReading)
	s.count("execve alone")
	s.killAll(s.judge)
}

// lone starts a consumer when there is no other, and waits until it consumes. It returns nil if it does not.
func (s *ringSoak) lone() *actor {
	a := s.start(s.somewhere(), s.ledger.raw, nil, "soak-read", s.id, "exclusive", s.number())
	if !s.says(a, soakReading) {
		return nil
	}
	return a
}

// judge records a fault unless a consumer ended as it should.
func (s *ringSoak) judge(a *actor) {
	cutOff := a.wasKilled()
	if a.file != "" {
		a.outputErr = errors.Join(s.ledger.capture(a.file), os.RemoveAll(a.file))
		cutOff = a.status != command.StatusDone
	}
	switch {
	case a.wasKilled():
	case a.status == command.StatusDone && a.interrupted, a.status == command.StatusBusy:
		if a.refusedByItself() {
			s.fault("refused by its own claim: %v", a)
		}
	default:
		s.fault("a consumer that was not killed failed: %v", a)
	}
	if a.outputErr != nil && !(errors.Is(a.outputErr, errCutOff) && cutOff) {
		s.fault("output: %v: %v", a.outputErr, a)
	}
	s.count("status " + strconv.Itoa(a.status))
}

// produce commits records in bursts until ctx is done. It retries while the ring is full.
func (s *ringSoak) produce(ctx context.Context, rng *rand.Rand) {
	for ctx.Err() == nil {
		for range rng.IntN(2000) {
			full, err := s.ping()
			if err != nil {
				s.fault("produce: %v", err)
				return
			}
			if ctx.Err() != nil {
				return
			}
			if full {
				command.Pause(ctx, time.Millisecond)
			}
		}
		command.Pause(ctx, time.Duration(rng.IntN(5000))*time.Microsecond)
	}
}

// ping commits the next record. It returns full if the ring is full.
func (s *ringSoak) ping() (full bool, err error) {
	seq := s.ledger.attempt()
	err = s.pinger.Ping()
	if errors.Is(err, producer.ErrFull) {
		return true, nil
	}
	if err == nil {
		s.ledger.commit()
		s.produced.Add(ring.Span(s.ledger.job.Len(seq)))
	}
	return false, err
}

// usable checks that the ring can be used after all consumers have died, and that no record was lost.
func (s *ringSoak) usable() {
	s.readAll("what the consumers left")
	for room := s.memory.Size(); ; {
		full, err := s.ping()
		span := ring.Span(s.ledger.job.Len(s.ledger.next - 1))
		if err != nil || full && room > 2*ring.Span(s.ledger.job.MaxSize) {
			s.fault("empty ring of %d bytes: %d bytes cannot be reserved: %v", s.memory.Size(), room, err)
		}
		if err != nil || full {
			break
		}
		room -= span
	}
	s.readAll("a ring full of records")
	s.ledger.close()
}

// readAll runs tail without --steal, and checks that it consumes all records in the ring.
func (s *ringSoak) readAll(what string) {
	tail := s.tail(s.ledger.raw, "-o", "raw", "--idle", "50ms")
	s.wait(tail)
	cons, prod := s.memory.ConsumerPos(), s.memory.ProducerPos()
	if tail.status != command.StatusDone || tail.outputErr != nil || cons != prod {
		s.fault("read %s: consumer position %d, producer position %d; %v; %v", what, cons, prod, tail.outputErr, tail)
	}
	s.ledger.complete(what)
}
