package bpffs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/pin"
)

func newPin() *cobra.Command {
	return &cobra.Command{
		Use:   "pin MAP... PATH",
		Short: "Pin maps, so that they outlive their processes and can be opened by path",
		Long: `Pin MAP, of any type, to PATH on a bpffs. A map can have many pins. Missing
directories of PATH are created. If PATH is a directory or ends in a slash, or if there are several
maps, each map is pinned in this directory by its name. An existing pin is refused. So is a PATH
below a directory of the bpffs that another user can change: one that belongs neither to you nor
to root, or that is writable for others and not sticky. If a map cannot be pinned, none is.`,
		Example: "  rbtool pin events /sys/fs/bpf/events\n  rbtool pin 12 name:commands /sys/fs/bpf/app/",
		Args:    command.NonEmpty(cobra.MinimumNArgs(2)),
		RunE: func(_ *cobra.Command, args []string) error {
			return pinMaps(args[:len(args)-1], args[len(args)-1])
		},
	}
}

// pinMaps pins the maps that refs mean to a path, or all of them in a directory. It pins either all or none.
func pinMaps(refs []string, path string) (err error) {
	found, err := inspect.LookupAll(refs)
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range found {
			f.Map.Close()
		}
	}()
	paths := []string{path}
	if len(found) > 1 || strings.HasSuffix(path, "/") || isDirectory(path) {
		paths = paths[:0]
		for _, f := range found {
			if f.Name == "" {
				return fmt.Errorf("pin map id:%d in %q: the map has no name: give a path to each map", f.ID, path)
			}
			paths = append(paths, filepath.Join(path, notInAPin.Replace(f.Name)))
		}
	}
	dirs := bpffs.MissingParents(paths[0])
	for i, f := range found {
		if err := hintPath(pin.Map(f.Map, paths[i], pin.Options{}), paths[i]); err != nil {
			for _, done := range paths[:i] {
				err = errors.Join(err, pin.Remove(done))
			}
			command.RemoveDirs(dirs)
			return err
		}
	}
	return nil
}

// hintPath adds to the error of pinning to a directory that a path in it is wanted, and to that of a relative path outside a
// bpffs where that path would be on it.
func hintPath(err error, path string) error {
	if errors.Is(err, fs.ErrExist) && isDirectory(path) {
		return command.WithHint(err, "it is a directory: choose a path in it, such as %s", filepath.Join(path, "events"))
	}
	root, none := bpffs.Default()
	if !errors.Is(err, pin.ErrNotBPFFS) || none != nil || !filepath.IsLocal(path) {
		return err
	}
	return command.WithHint(err, "on the bpffs it would be %s", filepath.Join(root, path))
}

// notInAPin replaces what a map's name can have and a pin's cannot.
var notInAPin = strings.NewReplacer(".", "_")

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func newUnpin() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "unpin PATH|MAP...",
		Short: "Remove pins",
		Long: `Remove pins, of maps or other objects. MAP is removed from its pin; if it has several, --all removes
them all. A map lives on while a process, a program or another pin holds it. If one argument
cannot be unpinned, the others still are.`,
		Example: "  rbtool unpin /sys/fs/bpf/events\n  rbtool unpin events\n  rbtool unpin id:12 --all",
		Args:    command.NonEmpty(cobra.MinimumNArgs(1)),
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove all pins of a map that has several")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var errs []error
		for _, ref := range args {
			errs = append(errs, unpin(cmd.ErrOrStderr(), ref, all))
		}
		return errors.Join(errs...)
	}
	return cmd
}

// unpin removes the pin ref, or the pin of the map ref.
func unpin(stderr io.Writer, ref string, all bool) error {
	paths, err := inspect.Pins(ref)
	switch {
	case err != nil:
		return err
	case len(paths) > 1 && !all:
		return command.WithHint(fmt.Errorf("unpin %q: the map has %d pins: %s", ref, len(paths), strings.Join(paths, ", ")),
			"give one of them, or --all")
	}
	for _, path := range paths {
		if err := pin.Remove(path); err != nil {
			return err
		}
		if path != ref {
			command.Note(stderr, "unpinned %s", path)
		}
	}
	return nil
}
