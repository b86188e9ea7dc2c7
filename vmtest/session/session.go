// Package session runs a plan in a virtual machine: it follows the guest's events, kills a
// machine that is silent for too long, and finds the cause of a machine's death in its
// console.
package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/vm"
)

// Options configure a session.
type Options struct {
	Runner vm.Runner
	// Machine is the machine to boot; Exec sets Shared, Scratch and Console. The tree of its kernel
	// has the same path in the guest.
	Machine vm.Machine
	// Driver is the statically linked program that runs in the guest.
	Driver string
	// Files are copied beside the plan under their names, so that the guest has them in guest.Dir.
	Files map[string]string
	// Dir is the directory in which Exec creates its own, and removes it.
	Dir string
	// Boot is the time within which the guest must be up; 0 is 5 minutes, for an emulated machine
	// on a busy host.
	Boot time.Duration
	// Grace is the time after a binary's limit within which the guest must report that it has
	// killed it; 0 is a minute.
	Grace time.Duration
	// Event, if not nil, is called with each event, in order.
	Event func(guest.Event)
	// Output, if not nil, is called with each piece of a binary's output, between
	// the events of its start and its end.
	Output func([]byte)
}

// Result is the outcome of a plan.
type Result struct {
	// Up is the guest's report of its boot, nil if it did not boot.
	Up *guest.Up
	// Boot is the time from the start of the machine until then.
	Boot time.Duration
	// Runs has an element for each binary that was started.
	Runs []Run
	// Died tells why the plan was not completed, nil if it was.
	Died *Death
}

// Run is the outcome of one binary.
type Run struct {
	// Exit is its end, nil if it was running when the machine died.
	Exit *guest.Exit
	// Bytes is the length of the output that arrived.
	Bytes int64
}

// Death is the end of a machine before the end of its plan.
type Death struct {
	// What is the cause, such as "guest panic: sysrq triggered crash".
	What string
	// Console is the end of the kernel's messages.
	Console string
}

// Exec runs the plan. The error is about the host; the Result has everything that happens to the
// machine.
func Exec(ctx context.Context, plan guest.Plan, o Options) (Result, error) {
	dir, err := os.MkdirTemp(o.Dir, "vm-")
	if err != nil {
		return Result{}, err
	}
	defer os.RemoveAll(dir)
	s := &session{options: o, plan: plan, shared: filepath.Join(dir, "shared")}
	if err := s.prepare(dir); err != nil {
		return Result{}, err
	}
	// Opened before the guest can replace it.
	if s.output, err = os.Open(filepath.Join(s.shared, guest.OutputFile)); err != nil {
		return Result{}, err
	}
	defer s.output.Close()
	s.begin = time.Now()
	err = s.run(ctx)
	if ctx.Err() != nil {
		return s.result, ctx.Err()
	}
	if !s.done {
		s.result.Died = s.death(err)
	}
	return s.result, nil
}

// mostOutput is the most output of a binary that is kept in memory.
const mostOutput = 256 << 20 // bytes

type session struct {
	options Options
	plan    guest.Plan
	shared  string   // directory
	output  *os.File // of all binaries
	from    int64    // where that of the last one begins
	begin   time.Time
	result  Result
	done    bool
	late    time.Duration // the bound that passed, if one did
}

func (s *session) prepare(dir string) error {
	m := &s.options.Machine
	m.Shared, m.Scratch, m.Console = s.shared, filepath.Join(dir, "scratch"), filepath.Join(dir, "console")
	for _, d := range []string{m.Shared, m.Scratch} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // guests have unprivileged users too
		return err
	}
	s.plan.Modules = m.Kernel.Tree
	plan, err := json.Marshal(s.plan)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{guest.PlanFile: plan, guest.EventsFile: nil, guest.OutputFile: nil} {
		if err := os.WriteFile(filepath.Join(m.Shared, name), data, 0o644); err != nil {
			return err
		}
	}
	if err := copyFile(s.options.Driver, filepath.Join(m.Shared, guest.DriverFile)); err != nil {
		return err
	}
	for name, from := range s.options.Files {
		if err := linkFile(from, filepath.Join(m.Shared, name)); err != nil {
			return err
		}
	}
	return nil
}

// linkFile makes a hard link, or a copy if that fails.
func linkFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// run runs the machine and returns the runner's error after the last event.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.options.Runner.Run(ctx, s.options.Machine) }()

	f := &follower{path: filepath.Join(s.shared, guest.EventsFile)}
	defer f.close()
	// Polling: the file is on the other side of a file server, which reports no writes.
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	bound := or(s.options.Boot, 5*time.Minute)
	deadline := time.Now().Add(bound)
	for {
		select {
		case err := <-ended:
			return errors.Join(s.read(f), err)
		case <-tick.C:
		}
		before := f.read
		if err := s.read(f); err != nil {
			cancel()
			return errors.Join(err, <-ended)
		}
		if f.read != before {
			bound = s.patience()
			deadline = time.Now().Add(bound)
		}
		if time.Now().After(deadline) && s.late == 0 {
			s.late = bound
			cancel()
		}
	}
}

// patience returns the time that the guest may go on without an event: a test may be silent until
// its limit.
func (s *session) patience() time.Duration {
	grace := or(s.options.Grace, time.Minute)
	if s.running() != nil {
		return s.plan.Binaries[len(s.result.Runs)-1].Limit + grace
	}
	if s.plan.Shell != "" {
		return 365 * 24 * time.Hour
	}
	return grace
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// read processes the events and the output that have arrived.
func (s *session) read(f *follower) error {
	// The output first: it belongs to no binary later than that of the events.
	info, err := s.output.Stat()
	if err != nil {
		return fmt.Errorf("read output: %w", err)
	}
	for {
		line, err := f.line()
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if line == nil {
			return s.readOutput(info.Size() - s.from)
		}
		var e guest.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		if e.Exit != nil { // all its output was written before
			if err := s.readOutput(e.Exit.Bytes); err != nil {
				return err
			}
		}
		if err := s.take(e); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

// running returns the binary that runs, or nil.
func (s *session) running() *Run {
	if n := len(s.result.Runs); n > 0 && s.result.Runs[n-1].Exit == nil {
		return &s.result.Runs[n-1]
	}
	return nil
}

// readOutput reads the output of the running binary, if there is one, up to a length.
func (s *session) readOutput(length int64) error {
	run := s.running()
	if run == nil {
		return nil
	}
	chunk := make([]byte, 256<<10)
	for {
		n, err := s.output.ReadAt(chunk[:min(int64(len(chunk)), max(0, length-run.Bytes))], s.from+run.Bytes)
		run.Bytes += int64(n)
		if n > 0 && s.options.Output != nil {
			s.options.Output(chunk[:n])
		}
		switch {
		case run.Bytes > mostOutput:
			return fmt.Errorf("more than %d MiB of output", mostOutput>>20)
		case err == io.EOF || run.Bytes >= length:
			return nil
		case err != nil:
			return fmt.Errorf("read output: %w", err)
		}
	}
}

// take processes one event. The guest is not trusted, being a kernel under test: events in an
// impossible order are an error.
func (s *session) take(e guest.Event) error {
	r := &s.result
	current := s.running()
	switch {
	case e.Up != nil:
		r.Up, r.Boot = e.Up, time.Since(s.begin)
	case e.Start != nil:
		if current != nil || e.Start.Binary != len(r.Runs) || e.Start.Binary >= len(s.plan.Binaries) {
			return fmt.Errorf("binary %d starts out of order", e.Start.Binary)
		}
		if e.Start.From < s.from {
			return fmt.Errorf("output of binary %d starts at byte %d, before %d", e.Start.Binary, e.Start.From, s.from)
		}
		s.from = e.Start.From
		r.Runs = append(r.Runs, Run{})
	case e.Exit != nil:
		if current == nil {
			return errors.New("end of no binary")
		}
		current.Exit = e.Exit
	case e.Done:
		s.done = true
	}
	if s.options.Event != nil {
		s.options.Event(e)
	}
	return nil
}
