// Package kallsyms reads the functions of the running kernel and its modules: /proc/kallsyms.
//
//	for f, err := range kallsyms.Functions(file) {
//		if err != nil {
//			return err
//		}
//		...
//	}
//
// Without CAP_SYSLOG, or with kernel.kptr_restrict, all addresses are 0 (kernel/ksyms_common.c, kallsyms_show_value).
package kallsyms

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"iter"
)

// Path is the file of the running kernel. Reading it takes about 30 ms.
const Path = "/proc/kallsyms"

// ErrHidden reports that the kernel does not show addresses.
var ErrHidden = errors.New("the kernel hides addresses (kernel.kptr_restrict, CAP_SYSLOG)")

// Function is a symbol of a function. Its bytes are valid until the next one is read.
type Function struct {
	Name   []byte
	Module []byte // nil for the kernel itself
	hex    []byte
}

// Functions yields the functions in r, a file such as /proc/kallsyms, in its order: those of modules come after those of the
// kernel. Lines that describe anything else are left out. An error ends it.
func Functions(r io.Reader) iter.Seq2[Function, error] {
	return func(yield func(Function, error) bool) {
		for b := bufio.NewReaderSize(r, 64<<10); ; {
			line, err := b.ReadSlice('\n')
			if err != nil && err != io.EOF {
				yield(Function{}, err)
				return
			}
			if f, ok := parse(line); ok && !yield(f, nil) || err == io.EOF {
				return
			}
		}
	}
}

// parse parses a line such as "ffffffff81000000 T _stext" or "ffffffffc0000000 t name\t[module]".
func parse(line []byte) (f Function, ok bool) {
	hex, rest, _ := bytes.Cut(line, []byte(" "))
	kind, name, _ := bytes.Cut(rest, []byte(" "))
	if len(kind) != 1 || bytes.IndexByte([]byte("tTwW"), kind[0]) < 0 {
		return f, false
	}
	name, module, _ := bytes.Cut(bytes.TrimSuffix(name, []byte("\n")), []byte("\t"))
	if len(module) > 2 {
		f.Module = module[1 : len(module)-1]
	}
	f.Name, f.hex = name, hex
	return f, len(name) > 0
}

// Address returns where the function begins. ok is false if the kernel hides it.
func (f Function) Address() (addr uint64, ok bool) {
	for _, c := range f.hex {
		switch {
		case c >= '0' && c <= '9':
			addr = addr<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			addr = addr<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return addr, addr != 0
}
