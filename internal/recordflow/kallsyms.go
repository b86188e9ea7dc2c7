package recordflow

import (
	"bytes"
	"io"
	"os"

	"github.com/rbtool/rbtool/internal/kallsyms"
	"github.com/rbtool/rbtool/internal/once"
)

// Helpers returns a function for [Program.Helper] that knows the running kernel's helpers. In the kernel's dump
// of a program, the immediate of a call is the distance of the helper's address from __bpf_call_base
// (kernel/bpf/verifier.c, fixup_bpf_calls or do_misc_fixups). Without CAP_SYSLOG, or with kernel.kptr_restrict,
// the immediate is 0 (bpf_insn_prepare_dump), and /proc/kallsyms shows no addresses: all names are then unknown.
//
// Any number of goroutines can call Helpers and its result. The symbols are read once.
func Helpers() (func(immediate int32) string, error) {
	names, err := readHelpers()
	if err != nil {
		return nil, err
	}
	return func(immediate int32) string { return names[immediate] }, nil
}

var readHelpers = once.Func(func() (map[int32]string, error) {
	f, err := os.Open(kallsyms.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return helpersOf(f)
})

// helpersOf reads the kernel's symbols from r and returns the functions that programs call, by their distance
// from __bpf_call_base. These are in the kernel's text, which ends at _etext: neither in modules nor in code that only runs
// at boot.
func helpersOf(r io.Reader) (map[int32]string, error) {
	var base uint64
	addrs := map[string]uint64{}
	for f, err := range kallsyms.Functions(r) {
		if err != nil {
			return nil, err
		}
		if f.Module != nil || string(f.Name) == "_etext" {
			break
		}
		isBase := string(f.Name) == "__bpf_call_base"
		if !isBase && !bytes.HasPrefix(f.Name, []byte("bpf_")) && !bytes.Contains(f.Name, []byte("_map_")) {
			continue
		}
		switch addr, ok := f.Address(); {
		case !ok:
		case isBase:
			base = addr
		default:
			addrs[string(f.Name)] = addr
		}
	}
	names := map[int32]string{}
	for name, addr := range addrs {
		if base != 0 {
			names[int32(addr-base)] = name
		}
	}
	return names, nil
}
