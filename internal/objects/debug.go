package objects

import (
	"context"
	"fmt"
	"os"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/dwarftype"
	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/gotype"
)

// Types are the types of an executable, which are found by name or size: [dwarftype.Data] or [gotype.Data].
type Types interface {
	Names() []string
	Qualified(name string) []string
	Named(name string) []btf.Type
	Structs(size int64) []btf.Type
	Spec(names ...string) (*btf.Spec, error)
}

// Debug is the DWARF of an executable, or the structs that its runtime in Go knows.
type Debug struct {
	Types
	In string // for people, such as "the DWARF of /usr/sbin/x (process 12)"
}

// DebugOptions say which executables are read.
type DebugOptions struct {
	Limit    uint64 // bytes of a section of DWARF
	Language Language
}

// Language is that of the executables that are read. A struct of Go has fields with other names than those of the C struct
// that it reads.
type Language uint8

const (
	Any Language = iota
	Go
	NotGo
)

// maxRuntime is the size limit of the section that has the types of Go's runtime, in bytes: reading as many takes 40 ms.
const maxRuntime = 64 << 20

// DebugOf returns the DWARF of the processes' executables. A process that reads a ring often has the struct of its
// records, from the header that the program includes, but it can have another one of this name or size. It is
// bounded as [OfProcesses]. Executables without DWARF, or whose DWARF has a section of more than Limit bytes, are left
// out, but for those in Go: of them it returns what [gotype.FromELF] finds. About 4 MiB of DWARF can be read in 0.1 s, which is enough
// for a loader in C that links libbpf.
func DebugOf(ctx context.Context, o DebugOptions, pids ...int) []Debug {
	return bounded(ctx, func(s *searched) {
		each(pids, func(dir string, pid int) {
			if s.ctx.Err() != nil {
				return
			}
			if d, ok := s.readDebug(dir+"/exe", o); ok {
				d.In = fmt.Sprintf("%s (process %d)", d.In, pid)
				s.debug = append(s.debug, d)
			}
		})
	}).debug
}

// readDebug reads the types of the executable to which a link of /proc leads. It reports false if it has none, has been read already
// or is left out.
func (s *searched) readDebug(link string, o DebugOptions) (d Debug, ok bool) {
	path, err := os.Readlink(link)
	if err != nil {
		return d, false
	}
	f, err := s.open(link)
	if f == nil || err != nil {
		return d, false
	}
	defer f.Close()
	e, err := elffile.New(f)
	if err != nil {
		return d, false
	}
	_, err = e.Section(".gopclntab")
	inGo := err == nil
	if o.Language == NotGo && inGo || o.Language == Go && !inGo {
		return d, false
	}
	if types, err := dwarftype.FromELF(e, o.Limit); err == nil {
		return Debug{types, "the DWARF of " + path}, true
	}
	if !inGo {
		return d, false
	}
	types, err := gotype.FromELF(s.ctx, e, maxRuntime)
	return Debug{types, "the Go types of " + path}, err == nil
}
