package loader

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/syscall"
)

// baseVariable is the constant in which programs find the arena's user address, as
// bpf/headers/arena.h declares it: const volatile __u64 arena_base. NewCollection
// sets it where a collection has it.
const baseVariable = "arena_base"

// Options say how to load a collection. The zero value is right for most.
type Options struct {
	// Arenas are used in place of the arena maps of these names, whatever size and
	// flags the collection gives them. They stay the caller's. The other arenas are
	// created as the collection says.
	Arenas map[string]*arena.Arena
	// Collection is for all that is not special to arenas.
	Collection ebpf.CollectionOptions
	// NoVariables leaves Collection.Variables empty: cilium/ebpf maps the sections that
	// they lie in until the garbage collector finds nobody uses them. Values that were
	// set in the spec count all the same.
	NoVariables bool
}

// Collection is a loaded collection with its arenas, mapped.
type Collection struct {
	*ebpf.Collection
	// Arenas are by the names of their maps. Close closes those that were created
	// for the collection, not those of the options.
	Arenas map[string]*arena.Arena
	// Globals are the addresses of the object's variables with address_space(1). They have pages of
	// their own for the arena's lifetime. In an arena without a heap these are at its end, and
	// page 0 records that for other processes and [container.Format]; it must be empty ([container.ErrFormat]).
	Globals map[string]arena.Ptr[byte]

	own []*arena.Arena
}

// Close closes programs, maps and the arenas that were created for them.
func (c *Collection) Close() {
	if c == nil {
		return
	}
	c.Collection.Close()
	for _, a := range c.own {
		a.Close()
	}
}

// NewCollection loads programs that use arenas, which cilium/ebpf v0.22 alone cannot do:
// it loses the instructions that convert arena pointers. Programs without those
// are left to it, with all that it can do; for the others see
// [github.com/rbtool/rbtool/internal/syscall.Loader]. The spec is not changed.
//
// Where a kernel refuses a program the error wraps [ebpf.VerifierError]; where it lacks
// something, [ebpf.ErrNotSupported].
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

// openArenas makes the arenas that the collection declares, or takes those that the caller
// has, and lets the collection's maps be theirs.
func (c *Collection) openArenas(spec *ebpf.CollectionSpec, opts *Options) error {
	replaced := maps.Clone(opts.Collection.MapReplacements)
	if replaced == nil {
		replaced = map[string]*ebpf.Map{}
	}
	for name := range opts.Arenas {
		if m := spec.Maps[name]; m == nil || m.Type != ebpf.Arena {
			return fmt.Errorf("the collection has no arena map %q", name)
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
	return c.setBase(spec)
}

// arenaFor makes the arena that a collection declares, or opens the one that replaces it.
func arenaFor(spec *ebpf.MapSpec, replacement *ebpf.Map) (*arena.Arena, error) {
	if replacement != nil {
		return arena.Open(replacement)
	}
	if spec.Pinning != ebpf.PinNone {
		return nil, fmt.Errorf("map %s: pinning by name is not supported for arenas: open the pin and give it in the options", spec.Name)
	}
	o := arena.Options{
		Name: spec.Name, Size: uint64(spec.MaxEntries) * arenamem.PageSize, Base: spec.MapExtra,
		SegvOnFault: spec.Flags&mapflag.SegvOnFault != 0, NoUserConv: spec.Flags&mapflag.NoUserConv != 0,
	}
	return arena.Create(o)
}

// setBase tells the programs the address of the only arena.
func (c *Collection) setBase(spec *ebpf.CollectionSpec) error {
	v := spec.Variables[baseVariable]
	if v == nil || len(c.Arenas) == 0 {
		return nil
	}
	if len(c.Arenas) > 1 {
		return fmt.Errorf("set %s: the collection has %d arenas", baseVariable, len(c.Arenas))
	}
	for _, a := range c.Arenas {
		if err := v.Set(a.Base()); err != nil {
			return fmt.Errorf("set %s: %w", baseVariable, err)
		}
	}
	return nil
}

// setVariables writes the values of the variables into the contents of their
// sections, and forgets them.
func setVariables(spec *ebpf.CollectionSpec) error {
	for _, v := range spec.Variables {
		section := spec.Maps[v.SectionName]
		if section == nil {
			return fmt.Errorf("no section %s", v.SectionName)
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

// takeCasts takes the programs that cilium/ebpf cannot load out of the collection.
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

// tailCalls are elements of program arrays that can be set only when all programs
// are loaded, by the name of the map.
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
