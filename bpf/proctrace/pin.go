package proctrace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/pin"
)

var (
	// ErrIncomplete reports a directory that has only some of the pins of a tracer: [Tracer.Pin] or
	// [Remove] was interrupted, or another version of this package pinned them. Remove removes
	// them.
	ErrIncomplete = errors.New("the tracer there is incomplete (interrupted while it was started or stopped), or of another version")

	// errForeign means that another object is pinned under the name of a tracer's pin.
	errForeign = errors.New("not the pin of a tracer")
)

// entry is a pin of a tracer: its name, and what it holds, as describe returns it.
type entry struct{ name, holds string }

// entries returns the pins of a tracer with copies of each program, in the order of creation; they
// are removed in reverse order. The ring comes first: only one process can pin it there, so it
// marks the directory as taken until all other pins are gone. The links come last: while a link is
// pinned, everything that it needs is pinned too.
func entries(copies int) []entry {
	es := []entry{
		{pinEvents, "map " + bpfMapEvents},
		{pinCounters, "map " + bpfMapCounters},
		{pinHandlers, "map " + bpfMapHandlers},
		{pinProcesses, "map " + processesName},
	}
	if haveCommands() {
		es = append(es,
			entry{pinCommands, "map " + bpfMapCommands},
			entry{pinRules, "map " + bpfMapRuled},
			entry{pinListener, "map " + bpfMapListener},
			entry{pinCommand, "program " + bpfProgProctraceObey},
		)
	}
	for _, kind := range []string{pinProgram, pinLink} {
		for _, h := range hooks {
			for c := range copies {
				es = append(es, entry{copyPin(kind, h, c), kind + " " + h.name})
			}
		}
	}
	return es
}

const (
	pinEvents    = "events"
	pinCounters  = "counters"
	pinHandlers  = "handlers"
	pinProcesses = "processes" // exists only with Options.Processes
	pinCommands  = "commands"
	pinRules     = "rules"
	pinListener  = "listener"
	pinCommand   = "program_command"
	pinProgram   = "program"
	pinLink      = "link"
)

// copyPin returns the name of the pin of a copy of a program or of its link, such as program_fork
// and, for the second copy, program_fork_2.
func copyPin(kind string, h hook, copy int) string {
	name := kind + "_" + strings.TrimSuffix(h.typ.String(), "_event")
	if copy > 0 {
		name += fmt.Sprintf("_%d", copy+1)
	}
	return name
}

// Pin pins the maps, programs and links in dir, a directory on a bpffs, which it creates if it is
// missing. The tracing then no longer depends on this process, and Close only releases its
// descriptors. This process must have attached the Tracer.
//
// Three of the pins are for other processes:
//   - events: the ring
//   - commands: the user ring for struct command of bpf/headers/proctrace.h (Linux 6.1)
//   - processes: the arena with the process table, if there is one
//
// The error matches [fs.ErrExist] if a tracer is pinned in dir; package pin describes other errors.
// If Pin fails it leaves no pin behind. If the process is killed during Pin, some pins remain,
// which [Remove] removes.
func (t *Tracer) Pin(dir string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := os.ErrClosed
	if !t.closed {
		err = t.pin(dir)
	}
	if err != nil {
		return fmt.Errorf("pin proctrace in %q: %w", dir, err)
	}
	return nil
}

func (t *Tracer) pin(dir string) error {
	if len(t.links) == 0 {
		return errors.New("this process has not attached the tracer")
	}
	objects := []any{t.events, t.counters, t.handlers, t.processes}
	if c := t.control; c != nil {
		objects = append(objects, c.commands, c.ruled, c.listener, c.obey)
	}
	for _, copies := range t.programs {
		for _, p := range copies {
			objects = append(objects, p)
		}
	}
	for _, l := range t.links {
		objects = append(objects, l)
	}
	pins := entries(len(t.programs[0]))
	made := bpffs.MissingParents(filepath.Join(dir, pinEvents))
	var done []string
	for i, o := range objects {
		path := filepath.Join(dir, pins[i].name)
		if o == (*ebpf.Map)(nil) {
			if _, err := os.Lstat(path); err != nil {
				continue
			}
			o = t.events // the tracer has no such object, but the name is taken: pinning anything returns that error
		}
		err := pinObject(o, path)
		if err == nil {
			done = append(done, path)
			continue
		}
		for _, p := range slices.Backward(done) {
			err = errors.Join(err, pin.Remove(p))
		}
		for _, d := range made {
			unix.Rmdir(d) // fails if another process has created a file there
		}
		return err
	}
	return nil
}

func pinObject(o any, path string) error {
	switch o := o.(type) {
	case *ebpf.Map:
		return pin.Map(o, path, pin.Options{})
	case *ebpf.Program:
		return pin.Program(o, path, pin.Options{})
	default:
		return pin.Link(o.(link.Link), path, pin.Options{})
	}
}
