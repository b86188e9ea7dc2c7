package runner

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/internal/sentinel"
)

// ErrNoSuchName reports a name of [Options] that the object does not have. It matches [fs.ErrNotExist].
var ErrNoSuchName = sentinel.New(sentinel.NotFound, "the object has none of this name")

// ErrSetting reports a value of [Options] that does not fit the object.
var ErrSetting = errors.New("wrong setting")

// Options says how an object is loaded. The zero value loads it as it is.
type Options struct {
	// Set gives global variables values, in the text that the type of the variable takes: numbers, true, 'c', names of
	// enumerators, strings, JSON for structs and arrays.
	Set map[string]string
	// Rings are the sizes of rings in bytes.
	Rings map[string]uint32
	// Entries are the sizes of other maps.
	Entries map[string]uint32
	// Programs names the programs to load, also those whose section starts with ?. If it is empty, all others are loaded.
	Programs []string
	// Without names programs to leave out.
	Without []string
	// At moves programs to other targets: sections such as kprobe/vfs_read, by the names of programs. The hook must be of the
	// same kind as in the object.
	At map[string]string
}

// Object is a loaded object. Close it.
type Object struct {
	*loader.Collection
	// Notes say what was changed to make the object loadable, a sentence each.
	Notes []string

	path     string
	spec     *ebpf.CollectionSpec
	programs []*Program
	left     []Left
	attached []attachment
}

// Program is a program of an object.
type Program struct {
	*ebpf.Program
	Name    string
	spec    *ebpf.ProgramSpec
	section section
	// Attached reports whether Attach has attached it.
	Attached bool
}

// Section returns the hook and the target of the program, such as kprobe/vfs_read.
func (p *Program) Section() string { return p.section.String() }

// Left is a program that was left out.
type Left struct {
	Program string
	Why     error
}

// Load parses the object file at path, applies the options and loads its maps and programs. Nothing is attached yet.
//
// The error matches [ErrNoSuchName] or [ErrSetting] for options that do not fit, and wraps an [ebpf.VerifierError] if the
// kernel refuses a program.
func Load(path string, opts Options) (*Object, error) {
	spec, err := loader.LoadCollectionSpec(path)
	if err != nil {
		return nil, err
	}
	o := &Object{path: path, spec: spec}
	if err := o.load(opts); err != nil {
		return nil, fmt.Errorf("load object %s: %w", path, err)
	}
	return o, nil
}

func (o *Object) load(opts Options) error {
	for _, prepare := range []func(Options) error{o.choose, o.move, o.setVariables, o.resize} {
		if err := prepare(opts); err != nil {
			return err
		}
	}
	o.useRings()
	o.completeMaps()
	o.leaveOutAbsent()
	options, err := o.pinning()
	if err != nil {
		return err
	}
	if o.Collection, err = loader.NewCollection(o.spec, options); err != nil {
		return o.explainLoad(err)
	}
	for _, name := range slices.Sorted(maps.Keys(o.Programs)) {
		spec := o.spec.Programs[name]
		o.programs = append(o.programs, &Program{Program: o.Programs[name], Name: name, spec: spec, section: parseSection(spec.SectionName)})
	}
	return nil
}

// choose removes the programs that are not wanted from the spec.
func (o *Object) choose(opts Options) error {
	for _, name := range slices.Concat(opts.Programs, opts.Without) {
		if o.spec.Programs[name] == nil {
			return unknown("program", name, o.spec.Programs)
		}
	}
	for name, p := range o.spec.Programs {
		chosen := slices.Contains(opts.Programs, name)
		if len(opts.Programs) == 0 {
			chosen = !parseSection(p.SectionName).manual
		}
		if !chosen || slices.Contains(opts.Without, name) {
			delete(o.spec.Programs, name)
		}
	}
	if len(o.spec.Programs) == 0 {
		return fmt.Errorf("%w: no program is left to load", ErrSetting)
	}
	o.forgetTailCalls()
	return nil
}

// forgetTailCalls removes the programs that are not loaded from program arrays.
func (o *Object) forgetTailCalls() {
	for _, m := range o.spec.Maps {
		m.Contents = slices.DeleteFunc(m.Contents, func(kv ebpf.MapKV) bool {
			name, named := kv.Value.(string)
			return named && m.Type == ebpf.ProgramArray && o.spec.Programs[name] == nil
		})
	}
}

// move gives programs other targets.
func (o *Object) move(opts Options) error {
	for name, to := range opts.At {
		p := o.spec.Programs[name]
		if p == nil {
			return unknown("program", name, o.spec.Programs)
		}
		was, now := parseSection(p.SectionName), parseSection(to)
		i := slices.IndexFunc(hookFamilies, func(f hookFamily) bool { return slices.Contains(f.hooks, was.hook) })
		if i < 0 || !slices.Contains(hookFamilies[i].hooks, now.hook) {
			return fmt.Errorf("%w: program %s is of section %s and cannot be attached as %s", ErrSetting, name, was, now)
		}
		p.SectionName, p.AttachTo = to, now.target
		if p.Type == ebpf.Kprobe {
			p.AttachType = multiType(now.hook)
		}
	}
	return nil
}

// multiType is the attach type with which a program of a hook of the kprobe family is loaded.
func multiType(hook string) ebpf.AttachType {
	switch {
	case strings.HasSuffix(hook, "probe.multi") && strings.HasPrefix(hook, "k"):
		return ebpf.AttachTraceKprobeMulti
	case strings.HasSuffix(hook, "probe.multi"):
		return ebpf.AttachTraceUprobeMulti
	}
	return ebpf.AttachNone
}

// unknown returns an error for a name that the object does not have.
func unknown[T any](what, name string, known map[string]T) error {
	names := slices.Sorted(maps.Keys(known))
	hint := near.Hint(name, names)
	if hint == "" && len(names) > 0 && len(names) <= 8 {
		hint = " (it has " + strings.Join(names, ", ") + ")"
	}
	return fmt.Errorf("%s %q: %w%s", what, name, ErrNoSuchName, hint)
}

// Path returns the path of the object file.
func (o *Object) Path() string { return o.path }

// Loaded returns the programs, by name. They belong to the Object.
func (o *Object) Loaded() []*Program { return o.programs }

// Ring is a ring of an object. The map belongs to the Object.
type Ring struct {
	Name string
	*ebpf.Map
}

// Rings returns the maps of type RINGBUF, by name.
func (o *Object) Rings() (rings []Ring) {
	for _, name := range slices.Sorted(maps.Keys(o.Maps)) {
		if m := o.Maps[name]; m.Type() == ebpf.RingBuf {
			rings = append(rings, Ring{name, m})
		}
	}
	return rings
}

// Prints reports whether a program of the object calls bpf_printk.
func (o *Object) Prints() bool {
	for _, p := range o.programs {
		for _, ins := range p.spec.Instructions {
			if ins.IsBuiltinCall() && (ins.Constant == int64(asm.FnTracePrintk) || ins.Constant == int64(asm.FnTraceVprintk)) {
				return true
			}
		}
	}
	return false
}

// Close detaches all programs that are not pinned and frees what was loaded. It is idempotent.
func (o *Object) Close() error {
	err := o.Detach()
	if o.Collection != nil {
		o.Collection.Close()
	}
	return err
}
