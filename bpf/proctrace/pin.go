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
	// ErrIncomplete says that a directory has some of a tracer's pins: whoever
	// made or removed them did not get to the end, or was another version of this package. Remove
	// takes them away.
	ErrIncomplete = errors.New("the tracer there is incomplete (interrupted while it was started or stopped), or of another version")

	// errForeign says that an entry has the name of a tracer's pin and is
	// none.
	errForeign = errors.New("not the pin of a tracer")
)

// entry is a pin of a tracer, and what is pinned there, as describe says it.
type entry struct{ name, holds string }

// entries are the pins of a tracer with so many copies of its programs, in the
// order in which they are made; they are removed in the reverse one. So the
// ring, which only one process can pin there, stands for all of them from
// first to last, and as long as a link is there, all that it needs is there.
func entries(copies int) []entry {
	es := []entry{
		{pinEvents, "map " + bpfMapProctrace},
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
	pinEvents   = "events"
	pinCounters = "counters"
	pinHandlers = "handlers"
	// There with Options.Processes alone.
	pinProcesses = "processes"
	pinCommands  = "commands"
	pinRules     = "rules"
	pinListener  = "listener"
	pinCommand   = "program_command"
	pinProgram   = "program"
	pinLink      = "link"
)

// copyPin is the pin of a copy of a program or of its link: program_fork,
// program_fork_2.
func copyPin(kind string, h hook, copy int) string {
	name := kind + "_" + strings.TrimSuffix(h.typ.String(), "_event")
	if copy > 0 {
		name += fmt.Sprintf("_%d", copy+1)
	}
	return name
}

// Pin pins the ring, the counters, the handlers, the programs and the links in dir, a
// directory on a bpffs, which is made if it is missing. From then on the
// tracing does not depend on this process: Close gives up its descriptors, no
// more. The Tracer must be attached, and must not come from [Open].
//
// Where a tracer is pinned already the error is [fs.ErrExist]; the others are
// those of package pin. A failed Pin leaves nothing behind. A process that is
// killed in Pin leaves a part, which [Remove] takes away.
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
		return errors.New("this process has not attached it")
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
			o = t.events // for the error: nothing is to be there
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
			unix.Rmdir(d) // unless somebody else put something there
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
