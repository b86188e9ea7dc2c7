package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/explain"
)

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

// loadBTF loads the BTF that from names, in the forms that [NamedTypes] lists.
func loadBTF(from string) (*btf.Spec, error) {
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

// maxBTF is the size limit of a BTF file, in bytes. The BTF of a kernel has about 10 MiB.
const maxBTF = 64 << 20

// loadBTFFile reads BTF from an ELF file or from a file of raw BTF.
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
		return nil, explain.Error(err, "no such program")
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
