package proctrace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	cilium "github.com/cilium/ebpf/pin"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/pin"
)

// Open opens the tracer that is pinned in dir, for its ring and its statistics.
// The caller closes it, which does not end the tracing; nor does the Tracer keep the tracing
// going when it is removed.
//
// Errors: [fs.ErrNotExist] where there is none, [ErrIncomplete], [ErrForeign], and those of
// package pin.
func Open(dir string) (*Tracer, error) {
	found, err := load(dir)
	if err == nil && found.count < len(pins) {
		found.close()
		err = ErrIncomplete
	}
	if err != nil {
		return nil, fmt.Errorf("open proctrace in %q: %w", dir, err)
	}
	t := &Tracer{
		events:   found.objects[0].(*ebpf.Map),
		counters: found.objects[1].(*ebpf.Map),
		attached: true,
	}
	for i := range hooks {
		t.programs[i] = found.objects[firstProgram+i].(*ebpf.Program)
		found.objects[firstLink+i].Close()
	}
	return t, nil
}

// Remove takes away the pins of a tracer in dir, whole or in part, and dir itself
// when nothing else is in it. It returns when the links are gone from the host, which
// ends the tracing within moments. Where there is nothing to remove it does nothing.
//
// It removes nothing at all when one of the names holds something else
// ([ErrForeign]). While the process that attached the tracer has not closed it, the tracing goes
// on without pins, and Remove returns an error that says so.
func Remove(dir string) error {
	if err := remove(dir); err != nil {
		return fmt.Errorf("remove proctrace from %q: %w", dir, err)
	}
	return nil
}

func remove(dir string) error {
	found, err := load(dir)
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
	for i := len(pins) - 1; i >= 0; i-- {
		// Another Remove may be at work: what is gone is fine.
		if err := pin.Remove(filepath.Join(dir, pins[i].name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	unix.Rmdir(dir) // fails where it is not empty or a mount point, and may
	return waitReleased(links)
}

// waitReleased waits until the links do not exist any more. Unpinning does not
// free them at once, and nothing announces it: the inode goes after an RCU
// grace period, the link from a work queue (kernel/bpf/inode.c,
// bpf_destroy_inode; kernel/bpf/syscall.c, bpf_link_put).
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
				return fmt.Errorf("it is unpinned, but some process still holds link %d and keeps it tracing", id)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// loaded is what is there of the pins.
type loaded struct {
	objects [len(pins)]cilium.Pinner
	count   int
}

// load opens the pins in dir. Its error is fs.ErrNotExist where there are none.
func load(dir string) (*loaded, error) {
	l := &loaded{}
	for i, p := range pins {
		path := filepath.Join(dir, p.name)
		if _, err := os.Lstat(path); err != nil {
			continue
		}
		o, err := cilium.Load(path, nil)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now
		}
		if err != nil {
			l.close()
			return nil, fmt.Errorf("open %s: %w", p.name, err)
		}
		l.objects[i] = o
		l.count++
		holds, err := describe(o)
		if err == nil && holds != p.holds {
			err = fmt.Errorf("%w: it holds %s, wanted %s", ErrForeign, holds, p.holds)
		}
		if err != nil {
			l.close()
			return nil, fmt.Errorf("open %s: %w", p.name, err)
		}
	}
	if l.count == 0 {
		// It knows why: no such directory, no bpffs.
		m, err := pin.Open(EventsPin(dir), ebpf.RingBuf)
		if err == nil {
			m.Close()
			err = ErrIncomplete // pinned just now
		}
		return nil, err
	}
	return l, nil
}

// describe says what a pin holds, in the words of the pins table.
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

// links returns the ids of the links.
func (l *loaded) links() ([]link.ID, error) {
	var ids []link.ID
	for _, o := range l.objects[firstLink:] {
		if o == nil {
			continue
		}
		info, err := o.(link.Link).Info()
		if err != nil {
			return nil, err
		}
		ids = append(ids, info.ID)
	}
	return ids, nil
}

func (l *loaded) close() {
	for _, o := range l.objects {
		if o != nil {
			o.Close()
		}
	}
}
