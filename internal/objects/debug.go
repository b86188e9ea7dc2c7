package objects

import (
	"context"
	"fmt"
	"os"

	"github.com/rbtool/rbtool/internal/dwarftype"
	"github.com/rbtool/rbtool/internal/elffile"
)

// Debug is the DWARF of an executable.
type Debug struct {
	*dwarftype.Data
	In string // for people, such as "the DWARF of /usr/sbin/x (process 12)"
}

// DebugOptions say which DWARF is read.
type DebugOptions struct {
	Limit uint64 // bytes of a section
	Language
}

// Language is that of the executables whose DWARF is read. A struct of Go has fields with other names than those of the C struct
// that it reads.
type Language uint8

const (
	Any Language = iota
	Go
	NotGo
)

// DebugOf returns the DWARF of the processes' executables. A process that reads a ring often has the struct of its
// records, from the header that the program includes, but it can have another one of this name or size. It is
// bounded as [OfProcesses]. Executables without DWARF, or whose DWARF has a section of more than Limit bytes, are left
// out; about 4 MiB can be read in 0.1 s, which is enough for a loader in C that links libbpf.
func DebugOf(ctx context.Context, o DebugOptions, pids ...int) []Debug {
	return bounded(ctx, func(s *searched) {
		each(pids, func(dir string, pid int) {
			if s.ctx.Err() != nil {
				return
			}
			if path, d, err := s.readDebug(dir+"/exe", o); err == nil && d != nil {
				s.debug = append(s.debug, Debug{d, fmt.Sprintf("the DWARF of %s (process %d)", path, pid)})
			}
		})
	}).debug
}

// readDebug reads the DWARF of the executable to which a link of /proc leads; nil if it has been read already or is left out.
func (s *searched) readDebug(link string, o DebugOptions) (path string, d *dwarftype.Data, err error) {
	if path, err = os.Readlink(link); err != nil {
		return "", nil, err
	}
	f, err := s.open(link)
	if f == nil {
		return "", nil, err
	}
	defer f.Close()
	e, err := elffile.New(f)
	if err != nil {
		return "", nil, err
	}
	if _, err := e.Section(".gopclntab"); o.Language == NotGo && err == nil || o.Language == Go && err != nil {
		return path, nil, nil
	}
	d, err = dwarftype.FromELF(e, o.Limit)
	return path, d, err
}
