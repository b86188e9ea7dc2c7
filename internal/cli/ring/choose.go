package ring

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/innermap"
	"github.com/rbtool/rbtool/internal/sentinel"
	"github.com/rbtool/rbtool/pin"
)

// choice says which rings a command reads: those that references name, or all, or those of processes.
type choice struct {
	name  string // the command, for errors
	refs  []string
	all   bool
	pids  []uint
	comms []string
	kinds []ebpf.MapType // of the rings
	given []chosen       // rings of this process, in place of all others; find returns copies of them

	others []error // of references to pins that are no rings, which the last find left out
}

// chosen is a ring of a choice.
type chosen struct {
	*ebpf.Map
	id    ebpf.MapID
	name  string     // for people
	pin   string     // the path at which it was found, or ""
	outer ebpf.MapID // the map of maps in which it was found, or 0
	// named says that the user named this ring or its map of maps. The other rings are those that match.
	named bool
}

// outerTypes are the types of maps that stand for the rings in them.
var outerTypes = []ebpf.MapType{ebpf.ArrayOfMaps, ebpf.HashOfMaps}

func (c *choice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&c.all, "all", false, "observe all rings of this host")
	f.UintSliceVar(&c.pids, "pid", nil, "observe the rings that the process `PID` has open or mapped; may be repeated")
	f.StringSliceVar(&c.comms, "comm", nil, "observe the rings of processes called `NAME`, which may be a pattern; may be repeated")
	completeOwners(cmd)
}

// args returns the check of arguments MAP..., with others after them: flags can take the place of MAP.
func (c *choice) args(others ...string) cobra.PositionalArgs {
	return command.NonEmpty(func(cmd *cobra.Command, args []string) error {
		switch {
		case !c.searches():
			return cobra.MinimumNArgs(1+len(others))(cmd, args)
		case len(args) < len(others):
			return &command.MissingError{Name: others[len(args)]}
		}
		return nil
	})
}

// searches reports whether rings are found by flags. They belong to others, and are only observed.
func (c *choice) searches() bool { return c.all || c.owned() }

// owned reports whether rings are found by their owners: of all rings, if --all is given too.
func (c *choice) owned() bool { return len(c.pids) > 0 || len(c.comms) > 0 }

// check sets the name of the command. It returns a usage error for a wrong pattern.
func (c *choice) check(name string) error {
	c.name = name
	for _, comm := range c.comms {
		if _, err := path.Match(comm, ""); err != nil {
			return command.Usagef("%s: --comm %s: %w", name, comm, err)
		}
	}
	return nil
}

// open reports whether rings that do not exist yet can match.
func (c *choice) open() bool {
	return c.all && !c.owned() || len(c.comms) > 0 || slices.ContainsFunc(c.refs, inspect.IsPattern)
}

// alive reports whether rings can still match: those of processes, while one of them lives.
func (c *choice) alive() bool {
	return c.open() || slices.ContainsFunc(c.pids, func(pid uint) bool { return exists(pid) })
}

func exists(pid uint) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	return err == nil
}

// find opens the rings, each once. The caller closes them. outer reports whether a reference means a map of maps. If strict
// is not set, it leaves out what does not exist.
func (c *choice) find(strict bool) (found []chosen, outer bool, err error) {
	if c.given != nil {
		return c.copies()
	}
	var others []error
	for _, ref := range c.refs {
		list, isOuter, err := c.lookUp(ref)
		switch {
		case err != nil && len(c.refs) > 1 && (errors.Is(err, pin.ErrWrongType) || errors.Is(err, pin.ErrNotPin)):
			others = append(others, err) // the shell has expanded a pattern
		case err != nil && (strict || !errors.Is(err, fs.ErrNotExist)):
			closeChosen(found)
			return nil, false, err
		}
		outer = outer || isOuter
		found = append(found, list...)
	}
	if c.others = others; len(others) == len(c.refs) && strict && len(others) > 0 {
		return nil, false, others[0]
	}
	for _, search := range []struct {
		on   bool
		find func() ([]chosen, error)
	}{
		{c.all && !c.owned(), c.everywhere},
		{c.owned(), func() ([]chosen, error) { return c.ofProcesses(strict) }},
	} {
		if !search.on {
			continue
		}
		list, err := search.find()
		if err != nil && (strict || !errors.Is(err, fs.ErrNotExist)) {
			closeChosen(found)
			return nil, false, err
		}
		found = append(found, list...)
	}
	return unique(found), outer, nil
}

// copies returns the given rings, with descriptors of their own.
func (c *choice) copies() (found []chosen, outer bool, err error) {
	for _, g := range c.given {
		if g.Map, err = g.Map.Clone(); err != nil {
			closeChosen(found)
			return nil, false, fmt.Errorf("%s: ring %s: %w", c.name, g.name, err)
		}
		found = append(found, g)
	}
	return found, false, nil
}

// unique closes rings that are there already, and gives those that have a name in common different ones.
func unique(found []chosen) (rings []chosen) {
	ids, names := map[ebpf.MapID]bool{}, map[string]int{}
	for _, f := range found {
		if ids[f.id] {
			f.Close()
			continue
		}
		ids[f.id] = true
		names[f.name]++
		rings = append(rings, f)
	}
	for i := range rings {
		if f := &rings[i]; names[f.name] > 1 {
			f.name = numbered(f.name, f.id)
		}
	}
	return rings
}

// numbered returns a name that only one map has.
func numbered(name string, id ebpf.MapID) string { return fmt.Sprintf("%s#%d", name, id) }

func closeChosen(found []chosen) {
	for _, f := range found {
		f.Close()
	}
}

// lookUp opens the rings that a reference means. outer reports whether some are in a map of maps.
func (c *choice) lookUp(ref string) (rings []chosen, outer bool, err error) {
	maps, err := c.lookUpMaps(ref)
	if err != nil {
		return nil, false, err
	}
	for i, f := range maps {
		if abs, err := filepath.Abs(f.Pin); err == nil && f.Pin != "" {
			f.Pin = abs
		}
		one := chosen{Map: f.Map, id: f.ID, name: nameOf(f), pin: f.Pin, named: !inspect.IsPattern(ref)}
		if !slices.Contains(outerTypes, f.Map.Type()) {
			rings = append(rings, one)
			continue
		}
		inner, err := c.inside(one)
		f.Map.Close()
		if err != nil {
			closeChosen(rings)
			for _, rest := range maps[i+1:] {
				rest.Map.Close()
			}
			return nil, false, fmt.Errorf("find rings in %q: %w", ref, err)
		}
		rings, outer = append(rings, inner...), true
	}
	return rings, outer, nil
}

// lookUpMaps opens the rings and maps of maps that a reference means. Of several maps of one name, that is the ring, or else
// the map of maps.
func (c *choice) lookUpMaps(ref string) ([]inspect.Found, error) {
	found, err := inspect.LookupAll([]string{ref}, append(slices.Clone(c.kinds), outerTypes...)...)
	switch {
	case errors.Is(err, inspect.ErrAmbiguous):
		for _, types := range [][]ebpf.MapType{c.kinds, outerTypes} {
			if found, err := inspect.LookupAll([]string{ref}, types...); err == nil {
				return found, nil
			}
		}
	case errors.Is(err, pin.ErrWrongType):
		_, err = inspect.LookupAll([]string{ref}, c.kinds...) // names the types that people know
	}
	return found, err
}

// nameOf returns the name for a map: where it is pinned below a bpffs, its own name, or its id.
func nameOf(f inspect.Found) string {
	roots, _ := bpffs.Roots() // without /proc, the path is not shortened
	for _, root := range roots {
		if below, ok := strings.CutPrefix(f.Pin, root+"/"); ok {
			return below
		}
	}
	switch {
	case f.Pin != "":
		return f.Pin
	case f.Name != "":
		return f.Name
	}
	return fmt.Sprintf("id:%d", f.ID)
}

// inside opens the rings in a map of maps.
func (c *choice) inside(outer chosen) (rings []chosen, err error) {
	entries, err := innermap.Entries(outer.Map)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		m, id, err := innermap.Open(outer.Map, e.Key, e.ID)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			continue // the entry was deleted
		}
		if err == nil && !slices.Contains(c.kinds, m.Type()) {
			m.Close()
			if !outer.named {
				continue
			}
			err = fmt.Errorf("%w: there is a map of type %s", pin.ErrWrongType, strings.ToLower(m.Type().String()))
		}
		if err != nil {
			closeChosen(rings)
			return nil, err
		}
		rings = append(rings, chosen{Map: m, id: id, name: outer.name + "[" + keyText(e.Key) + "]", outer: outer.id, named: outer.named})
	}
	return rings, nil
}

// keyText shows a key: integers as such, others in hex.
func keyText(key []byte) string {
	switch len(key) {
	case 4:
		return strconv.FormatUint(uint64(binary.NativeEndian.Uint32(key)), 10)
	case 8:
		return strconv.FormatUint(binary.NativeEndian.Uint64(key), 10)
	}
	return hex.EncodeToString(key)
}

// errNoRings reports that flags found no rings. It matches [fs.ErrNotExist].
var errNoRings = sentinel.New(sentinel.NotFound, "no ring found")

// errNoProcess reports that a process does not exist. It matches [fs.ErrNotExist].
var errNoProcess = sentinel.New(sentinel.NotFound, "no such process")

// everywhere opens all rings of the host.
func (c *choice) everywhere() ([]chosen, error) {
	return c.opened(func(*inspect.Map) bool { return true }, inspect.Options{SkipUsers: true, SkipPrograms: true, SkipPins: true})
}

// ofProcesses opens the rings of processes. If strict is set, all processes must exist.
func (c *choice) ofProcesses(strict bool) ([]chosen, error) {
	for _, pid := range c.pids {
		if strict && !exists(pid) {
			return nil, command.WithHint(fmt.Errorf("%s: --pid %d: %w", c.name, pid, errNoProcess), "%s", c.noRingsHint())
		}
	}
	return c.opened(func(m *inspect.Map) bool {
		return slices.ContainsFunc(m.Users, func(u inspect.User) bool { return !u.Self && c.ofProcess(u.PID, u.Comm) })
	}, inspect.Options{SkipPrograms: true, SkipPins: true})
}

func (c *choice) ofProcess(pid int, comm string) bool {
	return slices.Contains(c.pids, uint(pid)) || slices.ContainsFunc(c.comms, func(pattern string) bool {
		ok, _ := path.Match(pattern, comm) // check has seen the pattern
		return ok
	})
}

// opened opens the rings of the host that match.
func (c *choice) opened(match func(*inspect.Map) bool, skip inspect.Options) (rings []chosen, err error) {
	all, err := inspect.All(skip)
	if err != nil {
		return nil, err
	}
	for i := range all.Maps {
		d := &all.Maps[i]
		if !slices.Contains(c.kinds, d.Type) || !match(d) {
			continue
		}
		m, err := ebpf.NewMapFromID(d.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has vanished
		}
		if err != nil {
			closeChosen(rings)
			return nil, fmt.Errorf("open map id:%d: %w", d.ID, err)
		}
		rings = append(rings, chosen{Map: m, id: d.ID, name: nameOf(inspect.Found{ID: d.ID, Name: d.Name})})
	}
	if len(rings) == 0 {
		return nil, command.WithHint(fmt.Errorf("%s: %w", c.name, errNoRings), "%s", c.noRingsHint())
	}
	return rings, nil
}

// noRingsHint says what to do if flags find no rings. With a MAP, --pid is probably meant for its records.
func (c *choice) noRingsHint() string {
	switch {
	case len(c.refs) > 0 && len(c.pids) > 0:
		return fmt.Sprintf("--pid finds the rings of a process; --filter 'pid == %d' selects records", c.pids[0])
	case len(c.refs) > 0 && len(c.comms) > 0:
		return fmt.Sprintf("--comm finds the rings of processes; --filter 'comm == %q' selects records", c.comms[0])
	}
	return "rbtool ls lists the rings and arenas of this host, and their owners"
}
