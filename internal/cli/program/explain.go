package program

import (
	"debug/elf"
	"errors"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/runner"
)

// explain gives an error of package runner its exit status and says what to do.
func explain(err error) error {
	refused, verifier := errors.AsType[*runner.VerifierError](err)
	_, noELF := errors.AsType[*elf.FormatError](err)
	switch {
	case noELF:
		return command.WithHint(err, "OBJECT is an object file that clang has compiled for BPF: clang -g -O2 -target bpf -c prog.bpf.c -o prog.bpf.o")
	case errors.Is(err, runner.ErrSetting):
		return command.WithStatus(err, command.StatusUsage)
	case errors.Is(err, runner.ErrUnsaid):
		return command.WithStatus(err, command.StatusUsage)
	case verifier && !command.Lacks(unix.CAP_BPF):
		err = command.WithStatus(err, command.StatusFailed)
		if hint := verifierHint(refused); hint != "" {
			return command.WithHint(err, "%s", hint)
		}
		return err
	case errors.Is(err, runner.ErrNoSuchName) || errors.Is(err, fs.ErrNotExist):
		return command.WithStatus(err, command.StatusNotFound)
	}
	return err
}

// verifierHints say what common words of the verifier mean to the author of a program.
var verifierHints = []struct{ says, hint string }{
	{"invalid mem access 'map_value_or_null'", "compare the result of bpf_map_lookup_elem with NULL before it is used"},
	{"invalid mem access 'ringbuf_mem_or_null'", "compare the result of bpf_ringbuf_reserve with NULL before it is used"},
	{"invalid mem access 'mem_or_null'", "compare the pointer with NULL before it is used"},
	{"Unreleased reference", "submit or discard what bpf_ringbuf_reserve returns on every path"},
	{"invalid mem access 'scalar'", "this is no pointer to the verifier: read kernel memory with bpf_core_read or BPF_CORE_READ"},
	{"cannot call GPL-restricted function", `the license must be GPL: char LICENSE[] SEC("license") = "GPL";`},
	{"unknown func", "the kernel does not have this helper, or not for programs of this type"},
	{"back-edge", "the kernel cannot prove that the loop ends: bound it by a constant, or use bpf_loop"},
	{"BPF program is too large", "fewer branches and smaller loops make less to verify; bpf_loop verifies its body once"},
	{"The sequence of", "fewer branches and smaller loops make less to verify; bpf_loop verifies its body once"},
	{"!read_ok", "a value is used that is not set on every path"},
	{"combined stack size", "at most 512 bytes of stack: move large structs to a per-CPU array"},
	{"leads to invalid memory access", "bound the index or the length with an if or a mask in front of the access"},
	{"unbounded memory access", "bound the index or the length with an if or a mask in front of the access"},
}

func verifierHint(e *runner.VerifierError) string {
	text := strings.Join(e.Says, "\n")
	for _, h := range verifierHints {
		if strings.Contains(text, h.says) {
			return h.hint
		}
	}
	return ""
}
