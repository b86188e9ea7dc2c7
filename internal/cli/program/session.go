package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/runner"
	"github.com/rbtool/rbtool/internal/syscall"
)

var errRange = errors.New("not a number from 1 to 4294967295")

// pidWord stands for the pid of COMMAND in --set.
const pidWord = "@pid"

func usesPID(set map[string]string) bool {
	for _, value := range set {
		if value == pidWord {
			return true
		}
	}
	return false
}

// session is one run of an object.
type session struct {
	opts           *options
	stdout, stderr io.Writer
	object         *runner.Object
	child          *child // nil without COMMAND
	counter        *drops.Counter
	uncounted      error // why losses are unknown
	rings          []runner.Ring
	closers        []func() // in reverse order

	finished  sync.Once
	detached  error
	notes     []string     // to print once nothing can fail any more
	unprint   func() error // ends printing what programs say; may be called twice
	runsError error
}

// runObject runs an object until its end.
func runObject(ctx context.Context, stdout, stderr io.Writer, path string, opts *options) (err error) {
	s := &session{opts: opts, stdout: stdout, stderr: stderr}
	defer func() {
		for i := len(s.closers) - 1; i >= 0; i-- {
			s.closers[i]()
		}
	}()
	if err := s.start(path); err != nil {
		return err
	}
	if err := s.attach(); err != nil {
		return err
	}
	err = s.follow(ctx)
	err = errors.Join(err, s.finish())
	err = errors.Join(err, s.unprint())
	if err == nil {
		err = s.report()
	}
	if s.child == nil {
		return err
	}
	return errors.Join(err, s.child.status(err))
}

// start loads the object and prepares all that must be there before its programs run.
func (s *session) start(path string) (err error) {
	if len(s.opts.command) > 0 {
		if s.child, err = startStopped(s.opts.command, s.stdout, s.stderr); err != nil {
			return err
		}
		s.closers = append(s.closers, s.child.end)
		for name, value := range s.opts.Set {
			if value == pidWord {
				s.opts.Set[name] = fmt.Sprint(s.child.pid())
			}
		}
	}
	if s.object, err = runner.Load(path, s.opts.Options); err != nil {
		return explain(err)
	}
	s.closers = append(s.closers, func() { s.object.Close() })
	s.notes = s.object.Notes
	if s.rings = s.object.Rings(); len(s.rings) > 0 {
		var names []string
		var rings []*ebpf.Map
		for _, r := range s.rings {
			names, rings = append(names, r.Name), append(rings, r.Map)
		}
		if err := s.opts.tail.Open(s.stdout, s.stderr, "run", path, names, rings); err != nil {
			return err
		}
		s.closers = append(s.closers, func() { s.opts.tail.Close() })
	}
	s.count()
	s.print()
	return nil
}

// count starts to count losses and runs.
func (s *session) count() {
	if len(s.rings) > 0 && !s.opts.quiet && !s.opts.noLosses {
		if s.counter, s.uncounted = drops.New(drops.Options{Maps: s.ringIDs()}); s.uncounted == nil {
			s.closers = append(s.closers, func() { s.counter.Close() })
		}
	}
	if runs, err := runner.CountRuns(); err == nil {
		s.closers = append(s.closers, func() { runs.Close() })
	} else {
		s.runsError = err
	}
}

// print starts to print what programs say.
func (s *session) print() {
	var closers []func() error
	if s.object.Prints() {
		p, err := runner.FollowPrintk(func(task, text string) { fmt.Fprintf(s.stderr, "printk: %s: %s\n", task, text) })
		switch {
		case err != nil:
			s.notes = append(s.notes, fmt.Sprintf("bpf_printk is not shown: %v", err))
		case !s.opts.quiet:
			s.notes = append(s.notes, "lines of bpf_printk are those of all programs of the host: the kernel does not tell whose they are")
		}
		if err == nil {
			closers = append(closers, p.Close)
		}
	}
	streams, err := s.object.FollowStreams(func(p *runner.Program, of syscall.Stream, text []byte) {
		name := "stderr"
		if of == syscall.StreamOut {
			name = "stdout"
		}
		for line := range strings.Lines(string(text)) {
			fmt.Fprintf(s.stderr, "%s %s: %s\n", name, p.Name, strings.TrimSuffix(line, "\n"))
		}
	})
	if err == nil { // older kernels have none
		closers = append(closers, func() error { streams.Close(); return nil })
	}
	s.unprint = sync.OnceValue(func() error {
		var errs []error
		for _, end := range closers {
			errs = append(errs, end())
		}
		return errors.Join(errs...)
	})
	s.closers = append(s.closers, func() { s.unprint() })
}

func (s *session) ringIDs() (ids []ebpf.MapID) {
	for _, r := range s.rings {
		if info, err := r.Info(); err == nil {
			if id, ok := info.ID(); ok {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// attach attaches and pins.
func (s *session) attach() error {
	left, err := s.object.Attach(s.opts.targets)
	if err != nil {
		return explain(err)
	}
	for _, l := range left {
		if s.opts.strict {
			return fmt.Errorf("attach program %s: %w", l.Program, l.Why)
		}
		command.Note(s.stderr, "program %s is left out: %v", l.Program, l.Why)
	}
	defer func() {
		for _, note := range s.notes {
			command.Note(s.stderr, "%s", note)
		}
	}()
	if s.opts.pin == "" {
		return nil
	}
	if err := s.object.Pin(s.opts.pin); err != nil {
		s.notes = nil
		return err
	}
	s.notes = append(s.notes, fmt.Sprintf("pinned in %s: rbtool stop %s ends it", s.opts.pin, s.opts.pin))
	return nil
}

// follow runs what is run by hand and COMMAND, and prints records until the end.
func (s *session) follow(ctx context.Context) error {
	if err := s.iterate(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := s.until(ctx)
	if len(s.rings) == 0 {
		return s.wait(ctx, over)
	}
	failed := make(chan error, 1)
	go func() {
		failed <- s.ended(over)
	}()
	// ctx does not end the reading: what is in the rings when programs are detached is printed too.
	err := s.opts.tail.Run(context.WithoutCancel(ctx))
	cancel()
	return errors.Join(err, <-failed)
}

// ended waits for the end and detaches.
func (s *session) ended(over <-chan error) error {
	err := <-over
	return errors.Join(err, s.finish())
}

// wait is follow without rings.
func (s *session) wait(ctx context.Context, over <-chan error) error {
	if d := s.opts.tail.Duration(); d > 0 {
		select {
		case err := <-over:
			return err
		case <-time.After(d):
			return nil
		}
	}
	return <-over
}

// until starts COMMAND and the programs that are run by hand. The result yields when nothing more is to come: after ^C, after
// COMMAND, or when all programs have run that are not attached.
func (s *session) until(ctx context.Context) <-chan error {
	over := make(chan error, 1)
	go func() {
		if err := s.runByHand(ctx); err != nil {
			over <- err
			return
		}
		switch {
		case s.child != nil:
			s.child.proceed()
			over <- s.child.wait(ctx)
		case s.object.Waits() || s.opts.every > 0 && s.object.ByHand():
			<-ctx.Done()
			over <- nil
		default:
			over <- nil
		}
	}()
	return over
}

// iterate prints what iterators print: on stdout if that is text for people, otherwise beside it.
func (s *session) iterate() error {
	w := s.stdout
	if !s.opts.tail.Text() {
		w = s.stderr
	}
	return s.object.Iterate(w, nil)
}

// runByHand runs syscall programs once, and goes on with it if --every is given.
func (s *session) runByHand(ctx context.Context) error {
	once := func() error {
		return s.object.RunOnce(func(p *runner.Program, result uint32) {
			if !s.opts.quiet && result != 0 {
				command.Note(s.stderr, "program %s returned %d", p.Name, int32(result))
			}
		})
	}
	if err := once(); err != nil || s.opts.every == 0 {
		return err
	}
	if !s.object.ByHand() {
		command.Note(s.stderr, "--every has no effect: the object has no program of section syscall")
		return nil
	}
	go func() {
		tick := time.NewTicker(time.Duration(s.opts.every))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if err := once(); err != nil {
				command.Note(s.stderr, "%v", err)
				return
			}
		}
	}()
	return nil
}

// finish detaches, unless all is pinned, and lets the rings end.
func (s *session) finish() error {
	s.finished.Do(func() {
		if s.detached = s.object.Detach(); len(s.rings) > 0 {
			s.opts.tail.End()
		}
	})
	return s.detached
}
