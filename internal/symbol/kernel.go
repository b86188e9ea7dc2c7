// Package symbol names the addresses in stacks. It names kernel addresses by /proc/kallsyms. It names
// user addresses by the symbols of ELF files, which it finds by build id or by the mappings of
// processes. An address that no symbol contains gets no function name.
package symbol

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
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
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readKernel(f)
}

func readKernel(r io.Reader) (*Kernel, error) {
	k := &Kernel{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		// Lines are "ffffffff81000000 T _stext" or "ffffffffc0000000 t name\t[module]".
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 3 || len(fields[1]) != 1 || !bytes.ContainsAny(fields[1], "tTwW") {
			continue
		}
		addr, err := strconv.ParseUint(string(fields[0]), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("parse /proc/kallsyms: %w", err)
		}
		if addr == 0 {
			continue
		}
		name := string(fields[2])
		if len(fields) > 3 {
			name += " " + string(fields[3])
		}
		k.functions = append(k.functions, function{addr: addr, name: name})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read /proc/kallsyms: %w", err)
	}
	if len(k.functions) == 0 {
		return nil, ErrHidden
	}
	sortFunctions(k.functions)
	return k, nil
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

func sortFunctions(fs []function) {
	slices.SortStableFunc(fs, func(a, b function) int { return cmp.Compare(a.addr, b.addr) })
}

// nameIn returns the function in fs that contains at, with the offset of ip in it.
func nameIn(fs []function, ip, at uint64) string {
	i, found := slices.BinarySearchFunc(fs, at, func(f function, at uint64) int { return cmp.Compare(f.addr, at) })
	if !found {
		i--
	}
	if i < 0 || fs[i].size > 0 && at-fs[i].addr >= fs[i].size {
		return ""
	}
	return fmt.Sprintf("%s+%#x", fs[i].name, ip-fs[i].addr)
}
