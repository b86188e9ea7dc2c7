// Package symbol names the addresses in stacks. It names kernel addresses by /proc/kallsyms. It names
// user addresses by the symbols of ELF files, which it finds by build id or by the mappings of
// processes. An address that no symbol contains gets no function name.
package symbol

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/internal/kallsyms"
)

// Kernel has the function symbols of the kernel, as they were when [ReadKernel] was called. It may be
// used concurrently.
type Kernel struct{ functions []function }

// function is a function symbol. If its size is 0, it extends to the next function.
type function struct {
	addr uint64
	size uint64 // 0 if unknown
	name string
}

// ErrHidden is returned if /proc/kallsyms shows all addresses as 0.
var ErrHidden = errors.New("the kernel hides its addresses (kernel.kptr_restrict, CAP_SYSLOG)")

// ReadKernel reads /proc/kallsyms.
func ReadKernel() (*Kernel, error) {
	f, err := os.Open(kallsyms.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readKernel(f)
}

func readKernel(r io.Reader) (*Kernel, error) {
	k := &Kernel{}
	var names names
	for f, err := range kallsyms.Functions(r) {
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", kallsyms.Path, err)
		}
		addr, ok := f.Address()
		if !ok {
			continue
		}
		name := f.Name
		if f.Module != nil {
			name = fmt.Appendf(nil, "%s [%s]", f.Name, f.Module)
		}
		k.functions = append(k.functions, function{addr: addr, name: names.add(name)})
	}
	if len(k.functions) == 0 {
		return nil, ErrHidden
	}
	sortFunctions(k.functions)
	return k, nil
}

// names keeps strings in blocks: each of its own would take a third more memory.
type names struct{ block *strings.Builder }

// add returns the string of name.
func (n *names) add(name []byte) string {
	if n.block == nil || n.block.Cap()-n.block.Len() < len(name) {
		n.block = &strings.Builder{}
		n.block.Grow(max(64<<10, len(name)))
	}
	begin := n.block.Len()
	n.block.Write(name)
	return n.block.String()[begin:]
}

// Name returns the function and offset of a return address, such as "do_exit+0x1a2", or "" if no
// function contains it. It looks up the call instruction before ip, because ip is in the next function
// if the call is the last instruction of its own.
func (k *Kernel) Name(ip uint64) string {
	if ip == 0 {
		return ""
	}
	return nameIn(k.functions, ip, ip-1)
}

// At returns the function that contains address, and the offset in it, such as "do_exit+0x0". It returns "" if no
// function does, or none that begins in the 64 KiB before address: addresses of data have no name.
func (k *Kernel) At(address uint64) string {
	f := functionAt(k.functions, address)
	if f == nil || address-f.addr >= 1<<16 {
		return ""
	}
	return fmt.Sprintf("%s+%#x", readable(f.name), address-f.addr)
}

func sortFunctions(fs []function) {
	slices.SortStableFunc(fs, func(a, b function) int { return cmp.Compare(a.addr, b.addr) })
}

// nameIn returns the function in fs that contains at, with the offset of ip in it.
func nameIn(fs []function, ip, at uint64) string {
	f := functionAt(fs, at)
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%s+%#x", readable(f.name), ip-f.addr)
}

// functionAt returns the function in fs that contains at, or nil.
func functionAt(fs []function, at uint64) *function {
	i, found := slices.BinarySearchFunc(fs, at, func(f function, at uint64) int { return cmp.Compare(f.addr, at) })
	if !found {
		i--
	}
	if i < 0 || fs[i].size > 0 && at-fs[i].addr >= fs[i].size {
		return nil
	}
	return &fs[i]
}
