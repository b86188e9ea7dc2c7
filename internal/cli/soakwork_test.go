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

// Lines that workers print on standard error when they have done what a signal requested.
const (
	soakReading = "reading"
	soakWriting = "writing"
	soakRobbed  = "robbed itself"
)

// soakReadMain is the command soak-read ID exclusive|steal SEED. It consumes the ring with that id
// through the library. It prints each record before it consumes it, in the format of tail -o raw. On
// SIGUSR1 it calls execve, on SIGUSR2 it steals the ring from itself, on SIGINT it ends.
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

// soakMap opens the map whose id is the first argument.
func soakMap() *ebpf.Map {
	m, err := ebpf.NewMapFromID(ebpf.MapID(number(os.Args[1])))
	fatal(err)
	return m
}

func soakRand(arg int) *rand.Rand { return rand.New(rand.NewPCG(uint64(number(os.Args[arg])), 0)) }

// execAgain calls execve: this process runs another command of the same binary.
func execAgain(args ...string) { fatal(syscall.Exec("/proc/self/exe", args, os.Environ())) }

// exitSoak ends a worker with the exit status that rbtool has for err.
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

// soakReader holds the Readers that a process has opened. Each new Reader steals the ring from the one
// before.
type soakReader struct {
	ring *ebpf.Map
	rng  *rand.Rand
	last *soakPass
	out  sync.Mutex // held while a Reader writes to standard output
}

// soakPass is a Reader and the goroutine that reads with it.
type soakPass struct {
	reader  *consumer.Reader
	abandon atomic.Bool // when set, the loop body panics
	ended   chan error
}

// errAbandoned is the value with which the loop body panics.
var errAbandoned = errors.New("pass abandoned")

// open opens a new Reader, which becomes the last, and starts to read with it.
func (s *soakReader) open(steal bool) {
	p := &soakPass{ended: make(chan error, 1)}
	var buf []byte
	rng := rand.New(rand.NewPCG(s.rng.Uint64(), 0))
	flush := func() error {
		if rng.IntN(50) == 0 {
			unix.Kill(os.Getpid(), unix.SIGSTOP) // sleep until the soak sends SIGCONT
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

// rob steals the ring from the last Reader. Then, at random, that Reader is closed before it notices,
// continues until it notices, or is left to the garbage collector in the middle of a pass.
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

// soakWriteMain is the command soak-write ID WORKER SEQ exclusive|steal SEED. It writes samples in the
// format of package usercheck into the user ring with that id, numbered from SEQ. It prints the numbers
// of the committed samples, 4 bytes each. On SIGUSR1 it calls execve, on SIGUSR2 it reopens the ring, on
// SIGINT it ends.
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
				w.numbers.Lock() // stay locked until execve: a sample written after w.seq is passed on would have its number used twice
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

// soakWriter holds the Producer of a process and the goroutine that writes with it.
type soakWriter struct {
	ring     *ebpf.Map
	worker   uint32
	rng      *rand.Rand
	producer *userprod.Producer
	failed   chan error // receives the error of the writing goroutine

	numbers sync.Mutex
	seq     uint32 // number of the next sample
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

// refuseForeign returns an error if another process produces into the ring without a claim.
func (w *soakWriter) refuseForeign() error {
	rival, err := inspect.Rival(w.ring)
	if rival != nil {
		err = fmt.Errorf("%w: by process %d", userprod.ErrBusy, rival.PID)
	}
	return err
}

// close closes the Producer and waits for the writing goroutine to end.
func (w *soakWriter) close() {
	err := w.producer.Close()
	if e := <-w.failed; !errors.Is(e, os.ErrClosed) {
		err = errors.Join(err, e)
	}
	if err != nil {
		exitSoak(err)
	}
}

// write commits some samples through a random method of the library, then prints the numbers of those.
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
		unix.Kill(os.Getpid(), unix.SIGSTOP) // sleep until the soak sends SIGCONT
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
