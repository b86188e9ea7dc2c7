package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/pin"
)

// The directories below that of [Object.Pin]. Links come first: [Stop] detaches before it frees maps.
const (
	linksDir    = "links"
	programsDir = "programs"
	mapsDir     = "maps"
)

var pinDirs = []string{linksDir, programsDir, mapsDir}

// ErrNotOurs reports a directory that [Object.Pin] did not make.
var ErrNotOurs = errors.New("rbtool run did not make this directory")

// Pin pins the links, programs and maps of the object below dir, a new directory on a bpffs: they go on after the process has
// ended, until [Stop]. After an error nothing is pinned. It fails with [ebpf.ErrNotSupported] if a program is attached in a
// way that ends with the process.
func (o *Object) Pin(dir string) (err error) {
	if err := pin.Check(filepath.Join(dir, linksDir)); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("pin %s: %w", dir, fs.ErrExist)
	}
	for _, a := range o.attached {
		if a.link == nil {
			return fmt.Errorf("pin program %s: %w: it is attached only as long as this process lives", a.name, ebpf.ErrNotSupported)
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("pin: %w", err), removePins(dir))
		}
	}()
	for _, sub := range pinDirs {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return err
		}
	}
	used := map[string]int{}
	for _, a := range o.attached {
		name := fileName(a.name)
		if used[name]++; used[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, used[name])
		}
		if err := pin.Link(a.link, filepath.Join(dir, linksDir, name), pin.Options{}); err != nil {
			return err
		}
	}
	for _, p := range o.programs {
		if err := pin.Program(p.Program, filepath.Join(dir, programsDir, fileName(p.Name)), pin.Options{}); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Maps)) {
		if err := pin.Map(o.Maps[name], filepath.Join(dir, mapsDir, fileName(name)), pin.Options{}); err != nil {
			return err
		}
	}
	return nil
}

// fileName returns a name as the name of a pin: a bpffs refuses dots (kernel/bpf/inode.c, bpf_lookup).
func fileName(name string) string { return strings.ReplaceAll(name, ".", "_") }

// Stop removes what [Object.Pin] has pinned below dir, and dir: its programs are detached. It fails with [ErrNotOurs] if dir
// has anything else, which it does not touch.
func Stop(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	ours := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == linksDir && e.IsDir() })
	for _, e := range entries {
		ours = ours && e.IsDir() && slices.Contains(pinDirs, e.Name())
	}
	if !ours {
		return fmt.Errorf("stop %s: %w", dir, ErrNotOurs)
	}
	if err := pin.Check(filepath.Join(dir, linksDir, "x")); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if err := removePins(dir); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// removePins removes the pins below dir, and dir.
func removePins(dir string) error {
	var errs []error
	for _, sub := range pinDirs {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			errs = append(errs, pin.Remove(filepath.Join(dir, sub, e.Name())))
		}
		errs = append(errs, removeDir(filepath.Join(dir, sub)))
	}
	return errors.Join(append(errs, removeDir(dir))...)
}

func removeDir(dir string) error {
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
	}
	return nil
}
