package loader

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/order"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Names of constants in programs, declared in bpf/headers/arena.h as const volatile __u64. NewCollection
// sets those that the collection has.
const (
	baseVariable    = "arena_base"      // user address of the arena
	pageVariable    = "arena_page_size" // page size of the kernel, in bytes
	orderedVariable = "arena_ordered"   // 1 if the machine keeps loads in program order
)

// oldPageSize is the page size, in bytes, of programs without pageVariable: ARENA_PAGE_SIZE was a number.
const oldPageSize = 4096

// Options describe how to load a collection. The zero value creates the arenas that the collection
// declares.
type Options struct {
	// Arenas replace the arena maps of these names in the collection, whose declared size and flags are
	// ignored. The caller still owns these arenas, and closes them after the Collection. A name without
	// such a map is an error. NewCollection creates all other arenas, as declared.
	Arenas map[string]*arena.Arena
	// Collection holds cilium/ebpf's options. An arena map in its MapReplacements is mapped by
	// [arena.Open].
	Collection ebpf.CollectionOptions
	// NoVariables leaves Collection.Variables empty. Otherwise cilium/ebpf maps the sections of the
	// variables until the garbage collector frees them. Values set in the spec apply in both cases.
	NoVariables bool
}

// Collection is a loaded collection with its mapped arenas. It may be used by many goroutines at once,
// except that Close must not run together with other uses.
type Collection struct {
	*ebpf.Collection
	// Arenas holds the arenas by the names of their maps. Close closes those that NewCollection created
	// or opened, not those of Options.Arenas.
	Arenas map[string]*arena.Arena
	// Globals holds the addresses of the object's variables with address_space(1), by name; such
	// variables are not in Variables. Convert an address to the type of the variable, for example
	// arena.Ptr[uint64](c.Globals["number"]). An object with such variables must have one arena.
	//
	// Each NewCollection creates the variables anew, on pages of their own, which are never freed. In an
	// arena without a heap these are the last pages. Page 0 records them, so that other processes and
	// container.Format do not use them.
	Globals map[string]arena.Ptr[byte]

	own []*arena.Arena
}

// Close closes the programs, the maps, and the arenas that NewCollection created or opened. Pointers into
// these arenas become invalid. A nil Collection may be closed.
func (c *Collection) Close() {
	if c == nil {
		return
	}
	c.Collection.Close()
	for _, a := range c.own {
		a.Close()
	}
}

// NewCollection loads a collection whose programs use arenas. The caller closes the collection.
// NewCollection does not change spec. If the collection has the constants of bpf/headers/arena.h,
// NewCollection sets arena_base to the base of the arena, of which there must be one, arena_page_size to
// the kernel's page size, and arena_ordered if the machine keeps loads in program order. Programs compiled
// with older headers lack the last two: they load only on kernels with pages of 4 KiB, on machines such as
// amd64, where they need no barriers (litmus table-lookup).
//
// Programs that do not convert arena pointers are loaded by cilium/ebpf, and may use all its features.
// Programs that convert arena pointers cannot be struct_ops, attach to other programs or to kernel
// modules, or use kernel symbols other than functions. An arena map cannot be declared as pinned by name.
//
// The error wraps an [ebpf.VerifierError] if the kernel refuses a program, and matches
// [ebpf.ErrNotSupported] if the kernel lacks a feature. It matches [os.ErrClosed] if an arena of the
// options is closed; ErrFormat of package container if the object has variables in an arena whose page 0
// holds other data; [arena.ErrFull] if the arena has no room for them; and those of [arena.Create] for an
// arena that it creates.
func NewCollection(spec *ebpf.CollectionSpec, opts Options) (*Collection, error) {
	c, err := newCollection(spec.Copy(), opts)
	if err != nil {
		return nil, fmt.Errorf("load collection: %w", err)
	}
	return c, nil
}

func newCollection(spec *ebpf.CollectionSpec, opts Options) (_ *Collection, err error) {
	c := &Collection{Arenas: map[string]*arena.Arena{}, Globals: map[string]arena.Ptr[byte]{}}
	defer func() {
		if err != nil {
			for _, a := range c.own {
				a.Close()
			}
		}
	}()
	if opts.Collection.Cache == nil {
		opts.Collection.Cache = kernelbtf.Cache()
	}
	if err := c.openArenas(spec, &opts); err != nil {
		return nil, err
	}
	globals, err := c.takeGlobals(spec)
	if err != nil {
		return nil, err
	}
	if opts.NoVariables {
		if err := setVariables(spec); err != nil {
			return nil, err
		}
	}
	casts := takeCasts(spec)
	tails := takeTailCalls(spec, casts)
	if c.Collection, err = ebpf.NewCollectionWithOptions(spec, opts.Collection); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.Collection.Close()
		}
	}()
	loader := syscall.Loader{
		Types: spec.Types, Cache: opts.Collection.Cache, Options: opts.Collection.Programs,
		Map: func(name string) syscall.MapRef {
			if name == globalsSection {
				return globals
			}
			return syscall.MapRef{Map: c.Maps[name]}
		},
	}
	for _, name := range slices.Sorted(maps.Keys(casts)) {
		if c.Programs[name], err = loader.Load(casts[name]); err != nil {
			return nil, err
		}
	}
	return c, tails.put(c.Collection)
}

// openArenas replaces each arena map of the collection by the map of an arena: the caller's arena of that
// name, or else a new one.
func (c *Collection) openArenas(spec *ebpf.CollectionSpec, opts *Options) error {
	replaced := maps.Clone(opts.Collection.MapReplacements)
	if replaced == nil {
		replaced = map[string]*ebpf.Map{}
	}
	for name := range opts.Arenas {
		if m := spec.Maps[name]; m == nil || m.Type != ebpf.Arena {
			return fmt.Errorf("collection has no arena map %q", name)
		}
	}
	for name, m := range spec.Maps {
		if m.Type != ebpf.Arena {
			continue
		}
		a := opts.Arenas[name]
		if a == nil {
			var err error
			if a, err = arenaFor(m, replaced[name]); err != nil {
				return err
			}
			c.own = append(c.own, a)
		}
		if a.Size() == 0 {
			return arenamem.ErrClosed
		}
		c.Arenas[name] = a
		replaced[name] = a.Map()
		m.MaxEntries, m.Flags, m.Pinning = a.Map().MaxEntries(), a.Map().Flags(), ebpf.PinNone
	}
	opts.Collection.MapReplacements = replaced
	if err := setPageSize(spec, arenamem.PageSize); err != nil {
		return err
	}
	if err := setOrdered(spec, runtime.GOARCH); err != nil {
		return err
	}
	return c.setBase(spec)
}

// arenaFor opens the arena replacement, or if that is nil creates the arena that spec declares.
func arenaFor(spec *ebpf.MapSpec, replacement *ebpf.Map) (*arena.Arena, error) {
	if replacement != nil {
		return arena.Open(replacement)
	}
	if spec.Pinning != ebpf.PinNone {
		return nil, fmt.Errorf("map %s: arenas cannot be pinned by name: open the pin and pass it in Options.Arenas", spec.Name)
	}
	o := arena.Options{
		Name: spec.Name, Size: uint64(spec.MaxEntries) * arenamem.PageSize, Base: spec.MapExtra,
		SegvOnFault: spec.Flags&mapflag.SegvOnFault != 0, NoUserConv: spec.Flags&mapflag.NoUserConv != 0,
	}
	return arena.Create(o)
}

// setBase sets the constant arena_base to the address of the collection's only arena.
func (c *Collection) setBase(spec *ebpf.CollectionSpec) error {
	v := spec.Variables[baseVariable]
	if v == nil || len(c.Arenas) == 0 {
		return nil
	}
	if len(c.Arenas) > 1 {
		return fmt.Errorf("set %s: the collection has %d arenas, not one", baseVariable, len(c.Arenas))
	}
	for _, a := range c.Arenas {
		if err := v.Set(a.Base()); err != nil {
			return fmt.Errorf("set %s: %w", baseVariable, err)
		}
	}
	return nil
}

// setPageSize sets the constant arena_page_size. It refuses programs that were compiled for another size.
func setPageSize(spec *ebpf.CollectionSpec, page uint64) error {
	if v := spec.Variables[pageVariable]; v != nil {
		if err := v.Set(page); err != nil {
			return fmt.Errorf("set %s: %w", pageVariable, err)
		}
		return nil
	}
	if spec.Variables[baseVariable] != nil && page != oldPageSize {
		return fmt.Errorf("%w: programs were compiled for pages of %d bytes, the kernel has pages of %d (compile them with the arena.h of this version)",
			ebpf.ErrNotSupported, oldPageSize, page)
	}
	return nil
}

// setOrdered sets the constant arena_ordered, which removes barriers where the machine needs none. It
// refuses programs without the constant if the machine needs barriers (litmus table-lookup).
func setOrdered(spec *ebpf.CollectionSpec, arch string) error {
	if spec.Variables[baseVariable] == nil {
		return nil // compiled without bpf/headers/arena.h
	}
	v := spec.Variables[orderedVariable]
	switch {
	case v == nil && order.Total(arch):
		return nil
	case v == nil:
		return fmt.Errorf("programs without %s on %s: %w: they lack barriers; compile them with the current bpf/headers/arena.h",
			orderedVariable, arch, ebpf.ErrNotSupported)
	case !order.Total(arch):
		return nil
	}
	if err := v.Set(uint64(1)); err != nil {
		return fmt.Errorf("set %s: %w", orderedVariable, err)
	}
	return nil
}

// setVariables writes the values of the variables into the contents of their sections, and removes the
// variables from the spec.
func setVariables(spec *ebpf.CollectionSpec) error {
	for _, v := range spec.Variables {
		section := spec.Maps[v.SectionName]
		if section == nil {
			return fmt.Errorf("variable %s: collection has no section %s", v.Name, v.SectionName)
		}
		data, err := initialValues(spec, section)
		if err != nil {
			return err
		}
		section.Contents[0].Value = data
	}
	spec.Variables = nil
	return nil
}

// takeCasts removes the programs that convert arena pointers, which cilium/ebpf cannot load, from the
// collection, and returns them.
func takeCasts(spec *ebpf.CollectionSpec) map[string]*ebpf.ProgramSpec {
	casts := map[string]*ebpf.ProgramSpec{}
	for name, p := range spec.Programs {
		if p.Type != ebpf.UnspecifiedProgram && syscall.HasCasts(p.Instructions) {
			casts[name] = p
			delete(spec.Programs, name)
		}
	}
	return casts
}

// tailCalls holds, for each program array, the elements whose programs cilium/ebpf cannot load. They are
// stored in the map after those programs are loaded.
type tailCalls map[string][]ebpf.MapKV

func takeTailCalls(spec *ebpf.CollectionSpec, casts map[string]*ebpf.ProgramSpec) tailCalls {
	taken := tailCalls{}
	for name, m := range spec.Maps {
		if m.Type != ebpf.ProgramArray {
			continue
		}
		m.Contents = slices.DeleteFunc(m.Contents, func(kv ebpf.MapKV) bool {
			program, named := kv.Value.(string)
			cast := named && casts[program] != nil
			if cast {
				taken[name] = append(taken[name], kv)
			}
			return cast
		})
	}
	return taken
}

func (t tailCalls) put(c *ebpf.Collection) error {
	var errs []error
	for name, kvs := range t {
		for _, kv := range kvs {
			if err := c.Maps[name].Put(kv.Key, c.Programs[kv.Value.(string)]); err != nil {
				errs = append(errs, fmt.Errorf("set program array %s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}
