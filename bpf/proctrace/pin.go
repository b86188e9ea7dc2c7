package proctrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/pin"
)

var (
	// ErrIncomplete says that a directory has some of a tracer's pins: whoever
	// made or removed them did not get to the end. Remove takes them away.
	ErrIncomplete = errors.New("the tracer there is incomplete (interrupted while it was started or stopped)")

	// ErrForeign says that an entry has the name of a tracer's pin and is none.
	ErrForeign = errors.New("not the pin of a tracer")
)

// pins are the entries of a tracer's directory, in the order in which they are
// made; they are removed in the reverse one. So the ring, which only one process can
// pin there, stands for all of them from first to last, and as long as a
// link is there, all that it needs is there.
var pins = [...]struct{ name, holds string }{
	{"events", "map " + bpfMapProctrace},
	{"counters", "map " + bpfMapCounters},
	{"prog_exit", "program " + bpfProgProctraceExit},
	{"prog_exec", "program " + bpfProgProctraceExec},
	{"prog_fork", "program " + bpfProgProctraceFork},
	{"link_exit", "link " + bpfProgProctraceExit},
	{"link_exec", "link " + bpfProgProctraceExec},
	{"link_fork", "link " + bpfProgProctraceFork},
}

const firstProgram, firstLink = 2, 2 + len(hooks)

// EventsPin is the path of the ring's pin for a tracer that is pinned in dir.
func EventsPin(dir string) string { return filepath.Join(dir, pins[0].name) }

// Pin pins the ring, the counters, the programs and the links in dir, a directory on
// a bpffs, which is made if it is missing. From then on the tracing does not depend
// on this process: Close gives up its descriptors, no more. The Tracer must be
// attached, and must not come from [Open].
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
	if len(t.links) != len(hooks) {
		return errors.New("this process has not attached it")
	}
	objects := []any{t.events, t.counters}
	for _, p := range t.programs {
		objects = append(objects, p)
	}
	for _, l := range t.links {
		objects = append(objects, l)
	}
	made := missingDirs(dir)
	for i, o := range objects {
		err := pinObject(o, filepath.Join(dir, pins[i].name))
		if err == nil {
			continue
		}
		for _, p := range slices.Backward(pins[:i]) {
			err = errors.Join(err, pin.Remove(filepath.Join(dir, p.name)))
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

// missingDirs lists what does not exist of dir and the directories above it,
// the deepest first.
func missingDirs(dir string) []string {
	var missing []string
	for {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			return missing
		}
		missing = append(missing, dir)
		dir = filepath.Dir(dir)
	}
}
