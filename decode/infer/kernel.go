package infer

import (
	"errors"
	"io/fs"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/bpf/innermaps"
	"github.com/rbtool/rbtool/internal/bpf/progreader"
	"github.com/rbtool/rbtool/internal/syscall"
)

// maxBTF bounds the bytes of one BTF that are read. Programs have less than 1 MiB.
const maxBTF = 8 << 20

// kernel tells what the kernel keeps of programs and maps. Several goroutines can call btf and code, but nothing else at
// the same time.
type kernel interface {
	// programs lists the programs, at most maxPrograms.
	programs() ([]*syscall.ProgramInfo, error)
	// mapInfo describes a map; nil if it is gone.
	mapInfo(ebpf.MapID) *syscall.MapInfo
	// inner returns the maps in a map of maps, none if it is gone.
	inner(outer ebpf.MapID) ([]ebpf.MapID, error)
	// btf returns the bytes of a BTF. If it is gone, the error matches [fs.ErrNotExist], and if it has more than maxBTF bytes,
	// [syscall.ErrTooLarge].
	btf(btf.ID) ([]byte, error)
	// code returns a program's instructions with their source lines. If the program is gone, the error matches
	// [fs.ErrNotExist].
	code(ebpf.ProgramID) (*syscall.ProgramCode, error)
	close()
}

// byDescriptor asks with bpf(2), which needs CAP_SYS_ADMIN to open what other processes have.
type byDescriptor struct{ outer *innermaps.Reader }

func (byDescriptor) programs() (found []*syscall.ProgramInfo, err error) {
	for id := ebpf.ProgramID(0); len(found) < maxPrograms; {
		if id, err = ebpf.ProgramGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return nil, err
		}
		p, err := syscall.ReadProgramInfo(id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // the program has been unloaded
		case err != nil:
			return nil, err
		default:
			found = append(found, p)
		}
	}
	return found, nil
}

func (byDescriptor) mapInfo(id ebpf.MapID) *syscall.MapInfo {
	info, _ := syscall.ReadMapInfo(id)
	return info
}

func (k byDescriptor) inner(outer ebpf.MapID) ([]ebpf.MapID, error) {
	m, err := ebpf.NewMapFromID(outer)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer m.Close()
	return k.outer.Of(m, maxInner)
}

func (byDescriptor) btf(id btf.ID) ([]byte, error) { return syscall.ReadBTF(id, maxBTF) }

func (byDescriptor) code(id ebpf.ProgramID) (*syscall.ProgramCode, error) {
	return syscall.ReadProgramCode(id)
}

func (k byDescriptor) close() { k.outer.Close() }

// byIterator reads the kernel's memory, which needs CAP_BPF and CAP_PERFMON.
type byIterator struct {
	*progreader.Reader
	mu *sync.Mutex // btf and code need it
}

func (k byIterator) programs() ([]*syscall.ProgramInfo, error) {
	found, err := k.Programs()
	return found[:min(len(found), maxPrograms)], err
}

func (k byIterator) mapInfo(id ebpf.MapID) *syscall.MapInfo { return k.Map(id) }

func (k byIterator) inner(outer ebpf.MapID) ([]ebpf.MapID, error) { return k.Inner(outer) }

func (k byIterator) btf(id btf.ID) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.BTF(id, maxBTF)
}

func (k byIterator) code(id ebpf.ProgramID) (*syscall.ProgramCode, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.Code(id)
}

func (k byIterator) close() { k.Close() }

// openKernel returns the way in which this process can read programs, and what it lists. notes say what it
// cannot read, and which capability that takes.
func openKernel() (k kernel, found []*syscall.ProgramInfo, notes []string, err error) {
	k = byDescriptor{&innermaps.Reader{}}
	if found, err = k.programs(); !errors.Is(err, fs.ErrPermission) {
		return k, found, nil, err
	}
	r, err := progreader.New()
	if err != nil {
		return k, nil, []string{"programs that use the ring not read: it takes CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON"}, nil
	}
	k = byIterator{r, &sync.Mutex{}}
	if found, err = k.programs(); err != nil {
		r.Close()
		return nil, nil, nil, err
	}
	return k, found, nil, nil
}
