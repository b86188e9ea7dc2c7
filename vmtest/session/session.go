// Package session runs a plan in a virtual machine: it reads the guest's events, kills a machine
// that reports no event for too long, and finds the cause of a machine's death in its console
// output.
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
	// Machine is the machine to boot. Exec sets its Shared, Scratch and Console, and shares the
	// tree of its kernel at the same path.
	Machine vm.Machine
	// Driver is the statically linked program that runs in the guest.
	Driver string
	// Files maps names to files of the host. Exec copies (or links) each into the shared directory
	// under its name, so that the guest has it in guest.Dir.
	Files map[string]string
	// Dir is the directory in which Exec creates a temporary directory.
	Dir string
	// Boot is the time within which the guest must report its boot. 0 means 5 minutes, enough for
	// an emulated machine on a busy host.
	Boot time.Duration
	// Grace is the time after a binary's limit within which the guest must report that it has
	// killed the binary. 0 means a minute.
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
	// Boot is the time from the start of the machine until that report.
	Boot time.Duration
	// Runs has an element for each binary that was started.
	Runs []Run
	// Died tells why the plan was not completed. It is nil if the plan was completed.
	Died *Death
}

// Run is the outcome of one binary.
type Run struct {
	// Exit is the guest's report of the binary's end, nil if it was running when the machine died.
	Exit *guest.Exit
	// Bytes is the length of the output that arrived.
	Bytes int64
}

// Death describes the end of a machine that did not complete its plan.
type Death struct {
	// What is the cause, such as "guest panic: sysrq triggered crash".
	What string
	// Console is the end of the console output.
	Console string
}

// Exec runs the plan. It returns an error for failures of the host; failures of the machine are in
// the Result.
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
	// The file is opened before the machine starts, so that the guest cannot replace it.
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

// mostOutput is the limit for the output of one binary, which is kept in memory.
const mostOutput = 256 << 20 // bytes

type session struct {
	options Options
	plan    guest.Plan
	shared  string   // directory
	output  *os.File // of all binaries
	from    int64    // offset of the output of the last binary
	begin   time.Time
	result  Result
	done    bool
	late    time.Duration // the time limit that the machine exceeded, or 0
}

func (s *session) prepare(dir string) error {
	m := &s.options.Machine
	m.Shared, m.Scratch, m.Console = s.shared, filepath.Join(dir, "scratch"), filepath.Join(dir, "console")
	for _, d := range []string{m.Shared, m.Scratch} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil { // unprivileged users of the guest read it too
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

// linkFile makes to a hard link of from or, if that fails, a copy.
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

// run runs the machine until it ends, processes all its events, and returns the runner's error.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.options.Runner.Run(ctx, s.options.Machine) }()

	f := &follower{path: filepath.Join(s.shared, guest.EventsFile)}
	defer f.close()
	// The events file is polled: the guest writes it through a file server, which does not notify
	// of writes.
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

// patience returns how long the guest may take to report the next event. While a binary runs that
// is the binary's limit plus the grace.
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
	// The length of the output is read before the events, so that it includes no output of a binary
	// whose start has not been read.
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
		if e.Exit != nil { // the binary's output was written before this event
			if err := s.readOutput(e.Exit.Bytes); err != nil {
				return err
			}
		}
		if err := s.take(e); err != nil {
			return fmt.Errorf("read events: %w", err)
		}
	}
}

// running returns the binary that is running, or nil.
func (s *session) running() *Run {
	if n := len(s.result.Runs); n > 0 && s.result.Runs[n-1].Exit == nil {
		return &s.result.Runs[n-1]
	}
	return nil
}

// readOutput reads the output of the running binary, if there is one, until length bytes of it have
// been read.
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
			return fmt.Errorf("output of a test binary exceeds %d MiB", mostOutput>>20)
		case err == io.EOF || run.Bytes >= length:
			return nil
		case err != nil:
			return fmt.Errorf("read output: %w", err)
		}
	}
}

// take processes one event. It returns an error for events in an impossible order: the guest runs a
// kernel under test and is not trusted.
func (s *session) take(e guest.Event) error {
	r := &s.result
	current := s.running()
	switch {
	case e.Up != nil:
		r.Up, r.Boot = e.Up, time.Since(s.begin)
	case e.Start != nil:
		if current != nil || e.Start.Binary != len(r.Runs) || e.Start.Binary >= len(s.plan.Binaries) {
			return fmt.Errorf("binary %d started out of order", e.Start.Binary)
		}
		if e.Start.From < s.from {
			return fmt.Errorf("output of binary %d starts at byte %d, before %d", e.Start.Binary, e.Start.From, s.from)
		}
		s.from = e.Start.From
		r.Runs = append(r.Runs, Run{})
	case e.Exit != nil:
		if current == nil {
			return errors.New("a binary ended, but none was running")
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
