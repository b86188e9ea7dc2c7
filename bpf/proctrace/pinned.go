package proctrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	cilium "github.com/cilium/ebpf/pin"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/pin"
)

// Open opens the tracer that is pinned in dir, which another process may have started. The caller
// closes the Tracer; the tracing continues. An open Tracer does not keep the tracing running after
// [Remove]. Open needs CAP_SYS_ADMIN, to identify the programs of pinned links.
//
// The error matches [fs.ErrNotExist] if no tracer is pinned in dir, [ErrIncomplete] if pins are
// missing, or an error of package pin.
func Open(dir string) (*Tracer, error) {
	found, err := loadPins(dir)
	if err != nil {
		return nil, fmt.Errorf("open proctrace in %q: %w", dir, err)
	}
	defer found.close()
	t, ok := found.tracer()
	if !ok {
		t.Close()
		return nil, fmt.Errorf("open proctrace in %q: %w", dir, ErrIncomplete)
	}
	return t, nil
}

// Remove removes the pins of a tracer in dir, also an incomplete set, and then dir if it is empty.
// It returns after the kernel has freed the links, which ends the tracing. If dir has no pins of a
// tracer it returns nil.
//
// Remove removes nothing if another object is pinned under the name of a tracer's pin. If the
// process that attached the tracer still has it open, the tracing continues without pins, and
// Remove returns an error after 10 s. Remove needs CAP_SYS_ADMIN, as [Open] does.
func Remove(dir string) error {
	if err := remove(dir); err != nil {
		return fmt.Errorf("remove proctrace from %q: %w", dir, err)
	}
	return nil
}

func remove(dir string) error {
	found, err := loadPins(dir)
	if errors.Is(err, fs.ErrNotExist) {
		unix.Rmdir(dir)
		return nil
	}
	if err != nil {
		return err
	}
	links, err := found.links()
	found.close()
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(entries(maxCopies)) {
		// Pins may be missing: with one copy most do not exist, and another process may remove them
		// at the same time.
		if err := pin.Remove(filepath.Join(dir, e.name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	unix.Rmdir(dir) // fails if it is not empty or is a mount point
	return waitReleased(links)
}

// waitReleased polls until the kernel has freed the links. The kernel frees the inode of a removed
// pin after an RCU grace period, and the link from a work queue; it reports neither
// (kernel/bpf/inode.c, bpf_destroy_inode; kernel/bpf/syscall.c, bpf_link_put).
func waitReleased(links []link.ID) error {
	const patience = 10 * time.Second
	deadline := time.Now().Add(patience)
	for _, id := range links {
		for {
			l, err := link.NewFromID(id)
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return err
			}
			l.Close()
			if time.Now().After(deadline) {
				return fmt.Errorf("pins removed, but the tracing continues: another process holds link %d", id)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// found has the objects pinned in a directory, by the names of the pins.
type found map[string]cilium.Pinner

// loadPins opens the pins of a tracer in dir. The error matches fs.ErrNotExist if dir has none.
func loadPins(dir string) (found, error) {
	f := make(found)
	for _, e := range entries(maxCopies) {
		path := filepath.Join(dir, e.name)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		o, err := cilium.Load(path, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another process has just removed it
		}
		if err == nil {
			f[e.name] = o
			err = check(o, e)
		}
		if err != nil {
			f.close()
			return nil, fmt.Errorf("open %s: %w", e.name, err)
		}
	}
	if len(f) == 0 {
		// Open returns the right error: no such directory, or not a bpffs.
		m, err := pin.Open(filepath.Join(dir, pinEvents), ebpf.RingBuf)
		if err == nil {
			m.Close()
			err = ErrIncomplete // another process has just pinned it
		}
		return nil, err
	}
	return f, nil
}

// tracer returns a Tracer of the objects, or false if one of them is missing.
func (f found) tracer() (*Tracer, bool) {
	t := &Tracer{attached: true}
	var ok [3]bool
	t.events, ok[0] = take[*ebpf.Map](f, pinEvents)
	t.counters, ok[1] = take[*ebpf.Map](f, pinCounters)
	t.handlers, ok[2] = take[*ebpf.Map](f, pinHandlers)
	t.processes, _ = take[*ebpf.Map](f, pinProcesses)
	if ok != [3]bool{true, true, true} {
		return t, false
	}
	if haveCommands() {
		c := &control{}
		t.control = c
		var ok [4]bool
		c.commands, ok[0] = take[*ebpf.Map](f, pinCommands)
		c.ruled, ok[1] = take[*ebpf.Map](f, pinRules)
		c.listener, ok[2] = take[*ebpf.Map](f, pinListener)
		c.obey, ok[3] = take[*ebpf.Program](f, pinCommand)
		if ok != [4]bool{true, true, true, true} {
			return t, false
		}
	}
	copies := int(t.counters.MaxEntries()) / eventTypes
	if copies < 1 {
		return t, false
	}
	for i, h := range hooks {
		for c := range copies {
			p, ok := take[*ebpf.Program](f, copyPin(pinProgram, h, c))
			if !ok {
				return t, false
			}
			t.programs[i] = append(t.programs[i], p)
			if f[copyPin(pinLink, h, c)] == nil {
				return t, false
			}
		}
	}
	return t, true
}

// take removes the object with this name from f and returns it, so that f.close does not close it.
func take[T cilium.Pinner](f found, name string) (T, bool) {
	o, ok := f[name].(T)
	delete(f, name)
	return o, ok
}

// check returns an error if o is not the object that the pin e should hold.
func check(o cilium.Pinner, e entry) error {
	holds, err := describe(o)
	if err == nil && holds != e.holds {
		err = fmt.Errorf("%w: it holds %s, want %s", errForeign, holds, e.holds)
	}
	return err
}

// describe returns the kind of an object and the name of its map or program, such as "map events".
func describe(o cilium.Pinner) (string, error) {
	switch o := o.(type) {
	case *ebpf.Map:
		info, err := o.Info()
		if err != nil {
			return "", err
		}
		return "map " + info.Name, nil
	case *ebpf.Program:
		info, err := o.Info()
		if err != nil {
			return "", err
		}
		return "program " + info.Name, nil
	case link.Link:
		info, err := o.Info()
		if err != nil {
			return "", err
		}
		p, err := ebpf.NewProgramFromID(info.Program)
		if err != nil {
			return "", err
		}
		defer p.Close()
		program, err := p.Info()
		if err != nil {
			return "", err
		}
		return "link " + program.Name, nil
	}
	return fmt.Sprintf("a %T", o), nil
}

// links returns the ids of the links in f.
func (f found) links() ([]link.ID, error) {
	var ids []link.ID
	for _, o := range f {
		l, ok := o.(link.Link)
		if !ok {
			continue
		}
		info, err := l.Info()
		if err != nil {
			return nil, err
		}
		ids = append(ids, info.ID)
	}
	return ids, nil
}

func (f found) close() {
	for _, o := range f {
		o.Close()
	}
}
