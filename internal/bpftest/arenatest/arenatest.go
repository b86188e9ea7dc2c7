// Package arenatest holds programs and helpers for the tests of package arena and its subpackages.
package arenatest

//go:generate go tool bpf2go -target bpfel -go-package arenatest -cflags "-O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers" -type access bpf arenatest.bpf.c
//go:generate sh -c "${DOLLAR}{BPF2GO_CC:-clang} -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -mcpu=v3 -I../../../bpf/headers -target bpfel -fdebug-compilation-dir . -c globals.bpf.c -o globals_bpfel.o && ${DOLLAR}{BPF2GO_STRIP:-llvm-strip} -g globals_bpfel.o"

import (
	"bytes"
	_ "embed"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

// Spec returns the programs of arenatest.bpf.c with these names, and all maps.
func Spec(tb testing.TB, programs ...string) *ebpf.CollectionSpec {
	tb.Helper()
	spec, err := loadBpf()
	if err != nil {
		tb.Fatal(err)
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool {
		return !slices.Contains(programs, name)
	})
	return spec
}

//go:embed globals_bpfel.o
var globals []byte

// Globals returns the object compiled from globals.bpf.c, which cilium/ebpf alone cannot read.
func Globals() io.ReaderAt { return bytes.NewReader(globals) }

// Access is the context of the programs peek, poke and store_pointer.
type Access = bpfAccess
