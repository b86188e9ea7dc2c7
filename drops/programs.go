package drops

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/kallsyms"
	"github.com/rbtool/rbtool/internal/syscall"
)

// program is a program that is or was loaded.
type program struct {
	id    ebpf.ProgramID
	name  string
	typ   ebpf.ProgramType
	funcs []syscall.ProgramFunction
	gone  bool
}

// programs has the programs of the host with the addresses of their functions.
type programs struct {
	byID map[ebpf.ProgramID]*program
	err  error // of the last refresh
}

// refresh looks for programs that were loaded and unloaded, and reports whether any was unloaded.
func (p *programs) refresh() (unloaded bool) {
	seen, ok := p.learn()
	if !ok {
		return false
	}
	for id, prog := range p.byID {
		if !seen[id] && !prog.gone {
			prog.gone, unloaded = true, true
		}
	}
	return unloaded
}

// learn looks for programs that were loaded. It returns the ids of the loaded ones, and false if not all could be listed.
func (p *programs) learn() (seen map[ebpf.ProgramID]bool, ok bool) {
	seen = make(map[ebpf.ProgramID]bool, len(p.byID))
	var id ebpf.ProgramID
	for {
		next, err := ebpf.ProgramGetNextID(id)
		if errors.Is(err, fs.ErrNotExist) {
			return seen, true
		}
		if err != nil {
			p.err = err
			return seen, false
		}
		id = next
		seen[id] = true
		if p.byID[id] == nil {
			p.add(id)
		}
	}
}

// add reads a program, unless it has vanished.
func (p *programs) add(id ebpf.ProgramID) {
	info, err := syscall.ReadProgramInfo(id)
	if err != nil {
		return
	}
	funcs, err := syscall.ReadProgramFunctions(id)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		p.err = err
	}
	p.byID[id] = &program{id: id, name: info.Name, typ: info.Type, funcs: funcs}
}

// dropGone forgets the programs that were unloaded.
func (p *programs) dropGone() {
	for id, prog := range p.byID {
		if prog.gone {
			delete(p.byID, id)
		}
	}
}

// at returns the program whose code contains the return address, or nil. If one was loaded there after another was unloaded, and both
// since the last look, it returns the unloaded one, which had more time to call.
func (p *programs) at(address uint64) *program {
	loaded, gone := p.owners(address)
	if gone != nil {
		return gone
	}
	return loaded
}

// owners returns the loaded program whose code contains the return address, and the unloaded one, or nil.
func (p *programs) owners(address uint64) (loaded, gone *program) {
	for _, prog := range p.byID {
		for _, f := range prog.funcs {
			// The instruction after the call can be the first one after the function.
			if address <= f.Address || address > f.Address+f.Size {
				continue
			}
			if prog.gone {
				gone = prog
			} else {
				loaded = prog
			}
		}
	}
	return loaded, gone
}

// programPrefix begins the symbols of programs (kernel/bpf/core.c, bpf_get_prog_name): bpf_prog_TAG_NAME.
const programPrefix = "bpf_prog_"

// functionName returns the name of a function from the symbol of its program.
func functionName(symbol string) string {
	rest, ok := strings.CutPrefix(symbol, programPrefix)
	if !ok {
		return symbol
	}
	_, name, _ := strings.Cut(rest, "_")
	return name
}

// symbolsAt returns the symbols of the functions that contain these addresses, where the kernel shows them.
func symbolsAt(addresses map[uint64]bool) (map[uint64]string, error) {
	found := make(map[uint64]string, len(addresses))
	if len(addresses) == 0 {
		return found, nil
	}
	f, err := os.Open(kallsyms.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	nearest := make(map[uint64]uint64, len(addresses))
	for fn, err := range kallsyms.Functions(f) {
		if err != nil {
			return nil, err
		}
		start, ok := fn.Address()
		if !ok {
			continue
		}
		for a := range addresses {
			if start < a && start > nearest[a] {
				nearest[a] = start
				found[a] = string(fn.Name)
			}
		}
	}
	return found, nil
}
