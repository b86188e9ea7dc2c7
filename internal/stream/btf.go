package stream

import (
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
	name  string                          // for people
	spec  *btf.Spec                       // nil without BTF
	debug func() (*dwarftype.Data, error) // nil without DWARF
	// large reports that it takes too long to read all of the DWARF: it is only asked for names.
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
	if _, err := e.Section(".debug_info"); err == nil {
		debug := sync.OnceValues(func() (*dwarftype.Data, error) { return readDWARF(path) })
		found = append(found, TypeSource{name: path, debug: debug, large: len(found) > 0})
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
		s := TypeSource{name: o.String(), debug: o.DWARF}
		if spec, err := o.Spec(); err == nil {
			s.spec = spec
		}
		sources = append(sources, s)
	}
	return sources
}

// readDWARF reads the DWARF of an ELF file.
func readDWARF(path string) (*dwarftype.Data, error) {
	f, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := elffile.New(f)
	if err != nil {
		return nil, err
	}
	return dwarftype.FromELF(e, maxDWARF)
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
			var err error
			if d, err = s.debug(); err == nil {
				local = d.Local
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
