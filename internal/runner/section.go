package runner

import (
	"strings"

	"github.com/cilium/ebpf"
)

// section is the name of a program's ELF section, taken apart: "kprobe/vfs_read" is the hook kprobe and the target vfs_read.
type section struct {
	hook   string // in the words of libbpf, without the .s of sleepable programs
	target string // what follows the first slash
	manual bool   // it started with ?: only by request
}

// parseSection takes the name of a section apart.
func parseSection(name string) (s section) {
	name, s.manual = strings.CutPrefix(name, "?")
	s.hook, s.target, _ = strings.Cut(name, "/")
	s.hook = strings.TrimSuffix(s.hook, ".s")
	return s
}

// String returns the section without the marks of optional and sleepable programs.
func (s section) String() string {
	if s.target == "" {
		return s.hook
	}
	return s.hook + "/" + s.target
}

// hookFamily are the hooks among which [Options.At] may move a program: their programs differ only in the attachment.
type hookFamily struct {
	hooks []string
	typ   ebpf.ProgramType
}

var hookFamilies = []hookFamily{
	{[]string{"kprobe", "kretprobe", "ksyscall", "kretsyscall", "uprobe", "uretprobe",
		"kprobe.multi", "kretprobe.multi", "uprobe.multi", "uretprobe.multi"}, ebpf.Kprobe},
	{[]string{"tracepoint", "tp"}, ebpf.TracePoint},
	{[]string{"raw_tracepoint", "raw_tp"}, ebpf.RawTracepoint},
	{[]string{"tp_btf"}, ebpf.Tracing},
	{[]string{"fentry"}, ebpf.Tracing},
	{[]string{"fexit"}, ebpf.Tracing},
	{[]string{"fmod_ret"}, ebpf.Tracing},
	{[]string{"lsm"}, ebpf.LSM},
}
