// Package symbol names the addresses of stacks: those of the kernel by
// /proc/kallsyms, those of processes by the symbols of ELF files that are found by their build
// ids. What has no symbol has no name: nothing is guessed.
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

// Kernel is the symbols of the running kernel's functions, at the moment when it was read. It
// may be used by many goroutines.
type Kernel struct{ functions []function }

// function begins at an address and goes to the next one.
type function struct {
	addr uint64
	size uint64 // 0: not known
	name string
}

// ErrHidden says that the kernel does not show its addresses.
var ErrHidden = errors.New("the kernel hides its addresses (kernel.kptr_restrict, CAP_SYSLOG)")

// ReadKernel reads /proc/kallsyms. Its error is [ErrHidden] where that has no addresses.
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
		// "ffffffff81000000 T _stext", "ffffffffc0000000 t name\t[module]"
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

// Name is the function that a return address leads into, "do_exit+0x1a2", or "" where there
// is none. The call is the instruction before it, which can be the last one of the function.
func (k *Kernel) Name(ip uint64) string {
	if ip == 0 {
		return ""
	}
	return nameIn(k.functions, ip, ip-1)
}

func sortFunctions(fs []function) {
	slices.SortStableFunc(fs, func(a, b function) int { return cmp.Compare(a.addr, b.addr) })
}

// nameIn names ip, after the function that at lies in.
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
