package stream

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/dwarftype"
	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/gotype"
	"github.com/rbtool/rbtool/internal/objects"
	"github.com/rbtool/rbtool/internal/rawbtf"
	"github.com/rbtool/rbtool/internal/syscall"
)

// Size limits of what a file has, in bytes. The BTF of a kernel has about 10 MiB.
const (
	maxBTF   = 64 << 20  // raw BTF
	maxDWARF = 256 << 20 // a section of DWARF
)

// TypeSource is where types can come from.
type TypeSource struct {
	name  string                        // for people
	spec  *btf.Spec                     // nil without BTF
	debug func() (objects.Types, error) // nil without DWARF and types of Go
	// large reports that there are too many types in debug to try them all: it is only asked for names.
	large bool
}

// CheckBTF returns an error if from is malformed. It does not check whether the file, program or kernel
// BTF exists.
func CheckBTF(from string) error {
	if id, ok := strings.CutPrefix(from, "prog:"); ok {
		if _, err := strconv.ParseUint(id, 10, 32); err != nil {
			return errors.New("not the id of a program")
		}
	}
	return nil
}

// LoadSources loads the BTF and DWARF that the values of --btf name. Each is "kernel", "prog:ID", or the path of
// a file: of raw BTF, an ELF file with BTF or DWARF, or any file with BPF objects inside. Its errors name the
// flag. If the file or program does not exist, the error matches [fs.ErrNotExist].
func LoadSources(from []string) (sources []TypeSource, err error) {
	for _, f := range from {
		found, err := loadSource(f)
		if err != nil {
			return nil, err
		}
		sources = append(sources, found...)
	}
	return sources, nil
}

func loadSource(from string) ([]TypeSource, error) {
	if from == "kernel" {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return nil, fmt.Errorf("--btf kernel: %w", err)
		}
		return []TypeSource{{name: from, spec: spec}}, nil
	}
	id, ok := strings.CutPrefix(from, "prog:")
	if !ok {
		found, err := fileSources(from)
		if err != nil {
			return nil, fmt.Errorf("--btf: %w", err)
		}
		return found, nil
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("--btf %s: %w", from, err)
	}
	spec, err := programBTF(ebpf.ProgramID(n))
	if err != nil {
		return nil, fmt.Errorf("--btf %s: %w", from, err)
	}
	return []TypeSource{{name: from, spec: spec}}, nil
}

// fileSources returns the types in a file: its BTF, otherwise those of the BPF objects inside and its DWARF.
func fileSources(path string) (found []TypeSource, err error) {
	f, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := elffile.New(f)
	if err != nil {
		return rawSources(path, f)
	}
	inside, err := objects.OfFile(path)
	if err != nil {
		return nil, err
	}
	found = objectSources(inside)
	if len(inside) > 0 && inside[0].Offset == 0 {
		return found, nil // the file is the object
	}
	if raw, err := e.Content(".BTF", maxBTF); err == nil {
		spec, err := rawbtf.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("read types of %s: %w", path, err)
		}
		found = append(found, TypeSource{name: path, spec: spec})
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read types of %s: %w", path, err)
	}
	_, noDWARF := e.Section(".debug_info")
	_, notGo := e.Section(".gopclntab")
	if noDWARF == nil || notGo == nil {
		debug := sync.OnceValues(func() (objects.Types, error) { return readDebug(path) })
		found = append(found, TypeSource{name: path, debug: debug, large: len(found) > 0 || noDWARF != nil})
	}
	if found == nil {
		return nil, fmt.Errorf("read types of %s: it has neither BTF nor DWARF, nor a BPF object inside", path)
	}
	return found, nil
}

// rawSources returns the types in a file that is not ELF: raw BTF, or a file with BPF objects inside.
func rawSources(path string, f *os.File) ([]TypeSource, error) {
	head := make([]byte, 2)
	if n, _ := f.ReadAt(head, 0); n == 2 && rawbtf.Starts(head) {
		raw, err := elffile.ReadFile(path, maxBTF)
		if err != nil {
			return nil, fmt.Errorf("read types of %s: %w", path, err)
		}
		spec, err := rawbtf.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("read types of %s: %w", path, err)
		}
		return []TypeSource{{name: path, spec: spec}}, nil
	}
	inside, err := objects.OfFile(path)
	if err != nil {
		return nil, err
	}
	if len(inside) == 0 {
		return nil, fmt.Errorf("read types of %s: it is neither BTF nor ELF, and has no BPF object inside", path)
	}
	return objectSources(inside), nil
}

// objectSources returns the types of BPF objects.
func objectSources(found []*objects.Object) (sources []TypeSource) {
	for _, o := range found {
		s := TypeSource{name: o.String(), debug: func() (objects.Types, error) { return typesOf(o.DWARF()) }}
		if spec, err := o.Spec(); err == nil {
			s.spec = spec
		}
		sources = append(sources, s)
	}
	return sources
}

// typesOf returns d as Types.
func typesOf(d *dwarftype.Data, err error) (objects.Types, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// readDebug reads the DWARF of an ELF file, or the types of Go of one without.
func readDebug(path string) (objects.Types, error) {
	f, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := elffile.New(f)
	if err != nil {
		return nil, err
	}
	d, err := dwarftype.FromELF(e, maxDWARF)
	if !errors.Is(err, fs.ErrNotExist) {
		return typesOf(d, err)
	}
	types, err := gotype.FromELF(context.Background(), e, maxDWARF)
	if err != nil {
		return nil, err
	}
	return types, nil
}

func programBTF(id ebpf.ProgramID) (*btf.Spec, error) {
	info, err := syscall.ReadProgramInfo(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, explain.Error(err, "no such program")
	}
	if err != nil {
		return nil, err
	}
	if info.BTF == 0 {
		return nil, errors.New("the program has no BTF")
	}
	raw, err := syscall.ReadBTF(info.BTF, maxBTF)
	if err != nil {
		return nil, err
	}
	return rawbtf.Parse(raw)
}

// forInference returns the sources as BTF, with the variables that DWARF has.
func forInference(sources []TypeSource) (given []infer.Source) {
	for _, s := range sources {
		var d *dwarftype.Data
		var local func(function, variable string) (btf.Type, bool)
		if s.debug != nil && !s.large {
			if types, err := s.debug(); err == nil {
				if dwarf, ok := types.(*dwarftype.Data); ok {
					d, local = dwarf, dwarf.Local
				}
			}
		}
		if s.spec != nil {
			given = append(given, infer.Source{Spec: s.spec, Name: s.name, Local: local})
		}
		if local == nil {
			continue
		}
		if spec, err := d.Spec(); err == nil {
			given = append(given, infer.Source{Spec: spec, Name: "the DWARF of " + s.name, Local: local})
		}
	}
	return given
}
