package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/bpf/tracering"
	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/escape"
)

// typeOptions are the flags that say how records are decoded.
type TypeOptions struct {
	Names    []string
	from     string // --btf
	NoDecode bool
	explain  bool
}

func (o *TypeOptions) Flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Names, "type", nil, "decode records as these types: several are told apart by their first enum or their length")
	f.StringVar(&o.from, "btf", "", "where the types are: FILE (BTF or ELF), prog:ID or kernel")
	f.BoolVar(&o.NoDecode, "no-decode", false, "show records in hex")
	f.BoolVar(&o.explain, "explain", false, "say on stderr how the types of records were found, and how sure that is")
}

// check finds flags of a command that contradict each other.
func (o *TypeOptions) Check(command string) error {
	switch {
	case o.NoDecode && o.explain:
		return Usagef("%s: --explain has nothing to explain with --no-decode", command)
	case len(o.Names) > 0 && o.explain:
		return Usagef("%s: --explain has nothing to explain with --type", command)
	case o.NoDecode && (len(o.Names) > 0 || o.from != ""):
		return Usagef("%s: --no-decode goes with neither --type nor --btf", command)
	case len(o.Names) > 0 && o.from == "":
		return Usagef("%s: --type needs --btf FILE|prog:ID|kernel, to know where the type is", command)
	case len(o.Names) == 0 && o.from != "":
		return Usagef("%s: --btf needs --type NAME, to know which type it is", command)
	}
	if id, ok := strings.CutPrefix(o.from, "prog:"); ok {
		if _, err := strconv.ParseUint(id, 10, 32); err != nil {
			return Usagef("%s: --btf %s: not the id of a program", command, o.from)
		}
	}
	return nil
}

// recordTypes returns what decodes the records of m, nil when nothing is known
// to.
func (o *TypeOptions) RecordTypes(m *ebpf.Map, stderr io.Writer) (*decode.Set, error) {
	if o.NoDecode {
		return nil, nil
	}
	if len(o.Names) > 0 {
		return o.Load()
	}
	types, err := tracerTypes(m)
	if err == nil {
		if o.explain {
			fmt.Fprintf(stderr, "the ring is rbtool's own: records are %s\n", escape.String(types.Describe()))
		}
		return types, nil
	}
	if errors.Is(err, tracering.ErrStopped) {
		Note(stderr, "the tracer was stopped: its records are decoded by the types of this rbtool (--no-decode: in hex)")
		return bundledTypes()
	}
	if !errors.Is(err, tracering.ErrNotTraced) {
		Note(stderr, "records are shown in hex: %v", err)
		return nil, nil
	}
	return o.infer(m, stderr)
}

// infer returns the types that the programs which use m tell. What is not certain is said.
func (o *TypeOptions) infer(m *ebpf.Map, stderr io.Writer) (*decode.Set, error) {
	found, err := infer.Of(m)
	if err != nil {
		Note(stderr, "records are shown in hex: %v", err)
		return nil, nil
	}
	switch {
	case o.explain:
		for _, line := range found.Explain() {
			fmt.Fprintln(stderr, escape.String(line))
		}
	case found.Set == nil:
		Note(stderr, "records are shown in hex: %s", found.Why)
	case found.Certainty < infer.Certain || found.Partial:
		Note(stderr, "records are shown as %s", found.Why)
	}
	return found.Set, nil
}

// load returns the types that the flags name.
func (o *TypeOptions) Load() (*decode.Set, error) {
	spec, err := LoadBTF(o.from)
	if err != nil {
		return nil, err
	}
	var types []btf.Type
	for _, name := range o.Names {
		t, err := decode.Find(spec, name)
		if err != nil {
			return nil, fmt.Errorf("--type: %w in %s", err, o.from)
		}
		types = append(types, t)
	}
	set, err := decode.NewSet(types...)
	if err != nil {
		return nil, fmt.Errorf("--type: %w", err)
	}
	return set, nil
}

// loadBTF loads what --btf names.
func LoadBTF(from string) (*btf.Spec, error) {
	if from == "kernel" {
		spec, err := btf.LoadKernelSpec()
		if err != nil {
			return nil, fmt.Errorf("--btf kernel: %w", err)
		}
		return spec, nil
	}
	id, ok := strings.CutPrefix(from, "prog:")
	if !ok {
		spec, err := loadBTFFile(from)
		if err != nil {
			return nil, fmt.Errorf("--btf: %w", err)
		}
		return spec, nil
	}
	n, err := strconv.ParseUint(id, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("--btf %s: %w", from, err)
	}
	spec, err := programBTF(ebpf.ProgramID(n))
	if err != nil {
		return nil, fmt.Errorf("--btf %s: %w", from, err)
	}
	return spec, nil
}

// maxBTF bounds the BTF of a file, in bytes. A kernel's has some 10 MiB.
const maxBTF = 64 << 20

// loadBTFFile reads the BTF of an ELF file, or a file of raw BTF.
func loadBTFFile(path string) (*btf.Spec, error) {
	f, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var raw []byte
	if e, errELF := elffile.New(f); errELF == nil {
		raw, err = e.Content(".BTF", maxBTF)
	} else {
		raw, err = elffile.ReadFile(path, maxBTF)
	}
	if err != nil {
		return nil, fmt.Errorf("read types of %s: %w", path, err)
	}
	return btf.LoadSpecFromReader(bytes.NewReader(raw))
}

func programBTF(id ebpf.ProgramID) (*btf.Spec, error) {
	prog, err := ebpf.NewProgramFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, WithStatus(errors.New("no such program"), StatusNotFound)
	}
	if err != nil {
		return nil, err
	}
	defer prog.Close()
	handle, err := prog.Handle()
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	return handle.Spec(nil)
}
