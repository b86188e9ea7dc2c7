package cli

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpftest/usercheck"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/userprod"
)

// The lines that workers print on standard error after doing what a signal asked for.
const (
	soakReading = "reading"
	soakWriting = "writing"
	soakRobbed  = "robbed itself"
)

// soakReadMain is the command soak-read ID exclusive|steal SEED. It consumes ring ID through the library
// and prints each record as tail -o raw does, before it is consumed. SIGUSR1 makes it call execve,
// SIGUSR2 steal the ring from itself, SIGINT end.
func soakReadMain() {
	s := &soakReader{ring: soakMap(), rng: soakRand(3)}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2, unix.SIGINT)
	s.open(os.Args[2] == "steal")
	fmt.Fprintln(os.Stderr, soakReading)
	for {
		select {
		case err := <-s.last.ended:
			exitSoak(err)
		case sig := <-signals:
			switch sig {
			case unix.SIGUSR1:
				execAgain("soak-read", os.Args[1], "exclusive", strconv.Itoa(s.rng.IntN(1<<30)))
			case unix.SIGUSR2:
				s.rob()
				fmt.Fprintln(os.Stderr, soakRobbed)
			case unix.SIGINT:
				exitSoak(s.last.reader.Close())
			}
		}
	}
}

// soakMap opens the map that the first argument names by id.
func soakMap() *ebpf.Map {
	m, err := ebpf.NewMapFromID(ebpf.MapID(number(os.Args[1])))
	fatal(err)
	return m
}

func soakRand(arg int) *rand.Rand { return rand.New(rand.NewPCG(uint64(number(os.Args[arg])), 0)) }

// execAgain replaces the program of this process by a command of the same binary.
func execAgain(args ...string) { fatal(syscall.Exec("/proc/self/exe", args, os.Environ())) }

// exitSoak ends a worker with the exit status of rbtool for err.
func exitSoak(err error) {
	switch {
	case err == nil, errors.Is(err, os.ErrClosed):
		os.Exit(command.StatusDone)
	case errors.Is(err, consumer.ErrBusy), errors.Is(err, userprod.ErrBusy):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(command.StatusBusy)
	}
	fatal(err)
}

// soakReader holds the Readers of a process. Each Reader is robbed by the next.
type soakReader struct {
	ring *ebpf.Map
	rng  *rand.Rand
	last *soakPass
	out  sync.Mutex // held while a Reader writes
}

// soakPass is a Reader and how it ends.
type soakPass struct {
	reader  *consumer.Reader
	abandon atomic.Bool // makes the loop body panic
	ended   chan error
}

// errAbandoned is what the loop body panics with.
var errAbandoned = errors.New("pass abandoned")

// open opens a new Reader, which becomes the last.
func (s *soakReader) open(steal bool) {
	p := &soakPass{ended: make(chan error, 1)}
	var buf []byte
	rng := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
	flush := func() error {
		if rng.IntN(50) == 0 {
			unix.Kill(os.Getpid(), unix.SIGSTOP) // until the soak continues it
		}
		s.out.Lock()
		defer s.out.Unlock()
		_, err := os.Stdout.Write(buf)
		buf = buf[:0]
		return err
	}
	var err error
	if p.reader, err = consumer.NewReader(s.ring, consumer.Options{BeforePublish: flush, Steal: steal}); err != nil {
		exitSoak(err)
	}
	s.last = p
	go func() {
		defer func() {
			if e := recover(); e != nil && e != errAbandoned {
				panic(e)
			}
		}()
		for rec, err := range p.reader.Records(context.Background()) {
			if err != nil {
				p.ended <- err
				return
			}
			if p.abandon.Load() {
				panic(errAbandoned)
			}
			buf = binary.LittleEndian.AppendUint32(buf, uint32(len(rec.Data)))
			buf = append(buf, rec.Data...)
		}
	}()
}

// rob steals the ring from the last Reader, which is then closed before it notices, continues, or is left
// to the garbage collector in the middle of a pass.
func (s *soakReader) rob() {
	robbed := s.last
	s.open(true)
	switch s.rng.IntN(3) {
	case 0:
		fatal(robbed.reader.Close())
	case 1:
		robbed.abandon.Store(true)
		runtime.GC()
		return
	}
	go func() {
		if err := <-robbed.ended; !errors.Is(err, consumer.ErrBusy) && !errors.Is(err, os.ErrClosed) {
			fatal(fmt.Errorf("robbed by another Reader of the process: %w", err))
		}
	}()
}

// soakWriteMain is the command soak-write ID WORKER SEQ exclusive|steal SEED. It writes samples of package
// usercheck into user ring ID, from number SEQ on, and the numbers of the committed samples to
// standard output, 4 bytes each. SIGUSR1 makes it call execve, SIGUSR2 reopen the ring, SIGINT end.
func soakWriteMain() {
	w := &soakWriter{ring: soakMap(), worker: uint32(number(os.Args[2])), seq: uint32(number(os.Args[3])), rng: soakRand(5)}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2, unix.SIGINT)
	w.open(os.Args[4] == "steal")
	fmt.Fprintln(os.Stderr, soakWriting)
	for {
		select {
		case err := <-w.failed:
			exitSoak(err)
		case sig := <-signals:
			switch sig {
			case unix.SIGUSR1:
				w.numbers.Lock() // for good: no number may be used twice
				execAgain("soak-write", os.Args[1], os.Args[2], strconv.Itoa(int(w.seq)), "exclusive", strconv.Itoa(w.rng.IntN(1<<30)))
			case unix.SIGUSR2:
				w.close()
				w.open(false)
			case unix.SIGINT:
				w.close()
				os.Exit(command.StatusDone)
			}
		}
	}
}

// soakWriter holds the Producer of a process.
type soakWriter struct {
	ring     *ebpf.Map
	worker   uint32
	rng      *rand.Rand
	producer *userprod.Producer
	failed   chan error // the error of the writing goroutine

	numbers sync.Mutex
	seq     uint32 // the next sample
}

// fill fills b with the next sample and returns its number.
func (w *soakWriter) fill(b []byte) uint32 {
	w.numbers.Lock()
	defer w.numbers.Unlock()
	usercheck.Fill(b, w.worker, w.seq)
	w.seq++
	return w.seq - 1
}

func (w *soakWriter) open(steal bool) {
	opts := userprod.Options{Steal: steal}
	if w.rng.IntN(2) == 0 {
		opts.Claimed = w.refuseForeign
	}
	p, err := userprod.New(w.ring, opts)
	if err != nil {
		exitSoak(err)
	}
	w.producer, w.failed = p, make(chan error, 1)
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	failed := w.failed
	go func() {
		for {
			if err := w.write(p, rng); err != nil {
				failed <- err
				return
			}
		}
	}()
}

// refuseForeign returns an error if a process without a claim produces into the ring.
func (w *soakWriter) refuseForeign() error {
	rival, err := inspect.Rival(w.ring)
	if rival != nil {
		err = fmt.Errorf("%w: by process %d", userprod.ErrBusy, rival.PID)
	}
	return err
}

// close ends the Producer and the writing goroutine.
func (w *soakWriter) close() {
	err := w.producer.Close()
	if e := <-w.failed; !errors.Is(e, os.ErrClosed) {
		err = errors.Join(err, e)
	}
	if err != nil {
		exitSoak(err)
	}
}

// write commits some samples through a random method of the library, then prints their numbers.
func (w *soakWriter) write(p *userprod.Producer, rng *rand.Rand) error {
	sample := func() int { return usercheck.HeadSize + rng.IntN(400) }
	var wrote []uint32
	var err error
	switch rng.IntN(3) {
	case 0:
		b := make([]byte, sample())
		wrote = []uint32{w.fill(b)}
		err = p.Write(context.Background(), b)
	case 1:
		wrote, err = w.reserve(p, sample(), rng)
	case 2:
		wrote, err = w.batch(p, sample, rng.IntN(8))
	}
	if err != nil {
		return err
	}
	var told []byte
	for _, seq := range wrote {
		told = binary.LittleEndian.AppendUint32(told, seq)
	}
	_, err = os.Stdout.Write(told)
	return err
}

func (w *soakWriter) reserve(p *userprod.Producer, size int, rng *rand.Rand) (wrote []uint32, err error) {
	s, err := p.Reserve(context.Background(), size)
	if err != nil {
		return nil, err
	}
	if rng.IntN(50) == 0 {
		unix.Kill(os.Getpid(), unix.SIGSTOP) // until the soak continues it
	}
	if rng.IntN(5) == 0 {
		return nil, s.Discard()
	}
	wrote = append(wrote, w.fill(s.Bytes()))
	return wrote, s.Commit()
}

func (w *soakWriter) batch(p *userprod.Producer, size func() int, n int) (wrote []uint32, err error) {
	batch, err := p.Batch(context.Background())
	if err != nil {
		return nil, err
	}
	defer batch.End()
	for range n {
		buf, err := batch.TryNext(size())
		if errors.Is(err, userprod.ErrFull) {
			break
		}
		if err != nil {
			return nil, err
		}
		wrote = append(wrote, w.fill(buf))
	}
	return wrote, batch.End()
}
