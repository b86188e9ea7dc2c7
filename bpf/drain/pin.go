package drain

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

// errForeign means that another object is pinned under the name of a Drain's pin.
var errForeign = errors.New("not the pin of a drain")

// The pins of a Drain in the order of creation. They are removed in reverse order. The kernel
// cancels the timer when the last pin and descriptor of its map are gone (kernel/bpf/arraymap.c,
// array_map_free_timers_wq).
const (
	pinTimer   = "timer"
	pinState   = "state"
	pinCounts  = "counts"
	pinUser    = "user"
	pinTarget  = "target" // missing if samples are only counted
	pinProgram = "program"
	pinStart   = "start"
	pinStop    = "stop"
	pinLink    = "link" // missing if no tracepoint is attached
)

// mapPins has the names of the pins of maps, and of these maps in the object.
var mapPins = []struct{ pin, object string }{
	{pinTimer, bpfMapTimer}, {pinState, stateSection}, {pinCounts, bpfMapCounts},
	{pinUser, bpfMapUser}, {pinTarget, bpfMapTarget},
}

var programPins = []struct{ pin, object string }{
	{pinProgram, bpfProgDrainOnce}, {pinStart, bpfProgDrainStart}, {pinStop, bpfProgDrainStop},
}

// Pin pins the maps and programs of the Drain and both rings in dir, a directory on a bpffs,
// which it creates if it is missing. Timer and tracepoint then no longer depend on this
// process, and Close leaves them running. A Drain can be pinned once.
//
// The error matches [fs.ErrExist] if one of the pins exists; package pin describes other errors. If
// Pin fails it leaves no pin behind.
func (d *Drain) Pin(dir string) error {
	if err := d.use(); err != nil {
		return fmt.Errorf("pin drain in %q: %w", dir, err)
	}
	defer d.mu.Unlock()
	if err := d.pin(dir); err != nil {
		return fmt.Errorf("pin drain in %q: %w", dir, err)
	}
	return nil
}

func (d *Drain) pin(dir string) (err error) {
	if d.pinned {
		return errors.New("already pinned")
	}
	for _, p := range programPins {
		if _, err := d.program(p.object); err != nil {
			return err
		}
	}
	var made []string
	_, statErr := os.Lstat(dir)
	defer func() {
		if err == nil {
			return
		}
		for _, path := range slices.Backward(made) {
			err = errors.Join(err, pin.Remove(path))
		}
		if errors.Is(statErr, fs.ErrNotExist) {
			unix.Rmdir(dir) // fails if another process has created a file there
		}
	}()
	do := func(name string, f func(path string) error) error {
		path := filepath.Join(dir, name)
		if err := f(path); err != nil {
			return err
		}
		made = append(made, path)
		return nil
	}
	for _, p := range mapPins {
		if m := d.maps[p.object]; m != nil {
			if err := do(p.pin, func(path string) error { return pin.Map(m, path, pin.Options{}) }); err != nil {
				return err
			}
		}
	}
	for _, p := range programPins {
		if err := do(p.pin, func(path string) error { return pin.Program(d.programs[p.object], path, pin.Options{}) }); err != nil {
			return err
		}
	}
	if d.link != nil {
		if err := do(pinLink, func(path string) error { return pin.Link(d.link, path, pin.Options{}) }); err != nil {
			return err
		}
	}
	d.pinned = true
	return nil
}

// Open opens the Drain that is pinned in dir. The caller closes it, after which the pinned Drain
// continues. The error matches [fs.ErrNotExist] if pins are missing; package pin describes other
// errors.
func Open(dir string) (*Drain, error) {
	d, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("open drain in %q: %w", dir, err)
	}
	return d, nil
}

func open(dir string) (*Drain, error) {
	d, _, err := openPins(dir)
	if err != nil {
		return nil, err
	}
	state, err := d.state()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.constant.maxSample = state.MaxSample
	return d, nil
}

// openPins opens the pins in the order of creation. found has the names of those that it opened,
// also if it returns an error.
func openPins(dir string) (_ *Drain, found []string, err error) {
	d := &Drain{maps: maps{}, programs: map[string]*ebpf.Program{}, pinned: true}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
		}
	}()
	for _, p := range mapPins {
		m, err := openMap(filepath.Join(dir, p.pin), p.object)
		if p.pin == pinTarget && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, found, err
		}
		d.maps[p.object], found = m, append(found, p.pin)
	}
	for _, p := range programPins {
		prog, err := openProgram(filepath.Join(dir, p.pin), p.object)
		if err != nil {
			return nil, found, err
		}
		d.programs[p.object], found = prog, append(found, p.pin)
	}
	switch d.link, err = openAs[link.Link](filepath.Join(dir, pinLink)); {
	case errors.Is(err, fs.ErrNotExist):
		return d, found, nil
	case err != nil:
		return nil, found, err
	}
	return d, append(found, pinLink), nil
}

// openMap opens the pin of the map that is named object in the BPF object.
func openMap(path, object string) (*ebpf.Map, error) {
	types := map[string]ebpf.MapType{
		bpfMapTimer: ebpf.Array, stateSection: ebpf.Array, bpfMapCounts: ebpf.PerCPUArray,
		bpfMapUser: ebpf.UserRingbuf, bpfMapTarget: ebpf.RingBuf,
	}
	m, err := pin.Open(path, types[object])
	if errors.Is(err, pin.ErrWrongType) {
		err = fmt.Errorf("%w: %w", errForeign, err)
	}
	return m, err
}

// openAs opens the pin at path. The error matches errForeign if the object is not a T.
func openAs[T cilium.Pinner](path string) (T, error) {
	var none T
	o, err := cilium.Load(path, nil)
	if err != nil {
		return none, err
	}
	t, ok := o.(T)
	if !ok {
		return none, errors.Join(fmt.Errorf("%w: %s holds a %T", errForeign, path, o), o.Close())
	}
	return t, nil
}

func openProgram(path, name string) (*ebpf.Program, error) {
	p, err := openAs[*ebpf.Program](path)
	if err != nil {
		return nil, err
	}
	info, err := p.Info()
	if err == nil && info.Name != name {
		err = fmt.Errorf("%w: %s holds program %s", errForeign, path, info.Name)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Remove stops the Drain that is pinned in dir, and removes its pins, and dir if it is then empty.
// It also removes an incomplete set of pins, which an interrupted Pin or Remove leaves. Samples without room in the target stay in the user ring. If the target
// has no room for a sample kept aside (see the package comment), the error matches [ErrAside] and
// the Drain continues; with force, Remove goes on and the sample is lost.
//
// The error matches [fs.ErrNotExist] if nothing is pinned in dir. Remove removes nothing if another
// object is pinned under the name of a Drain's pin.
func Remove(dir string, force bool) error {
	if err := remove(dir, force); err != nil {
		return fmt.Errorf("remove drain from %q: %w", dir, err)
	}
	return nil
}

func remove(dir string, force bool) error {
	d, found, err := openPins(dir)
	if err != nil && (len(found) == 0 || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	if err == nil {
		defer d.Close()
		if err := d.end(force); err != nil {
			return err
		}
	} // otherwise pins are missing: Pin or Remove was interrupted
	for _, name := range slices.Backward(found) {
		if err := pin.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	unix.Rmdir(dir) // fails if it is not empty or is a mount point
	return nil
}

// end stops a pinned Drain and delivers the sample kept aside. If the delivery fails and force is
// false, end starts the Drain again.
func (d *Drain) end(force bool) error {
	state, err := d.state()
	if err != nil {
		return err
	}
	if err := d.stop(); err != nil {
		return err
	}
	err = d.deliverAside()
	if err == nil || force {
		return nil
	}
	return errors.Join(err, d.start(time.Duration(state.Every)))
}
