package inspect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/proc"
)

// process is what /proc shows of a process that uses maps.
type process struct {
	pid  int
	comm string
	self bool
	held []shape
	vmas []vma
}

// vma is a mapping of a map's memory.
type vma struct {
	offset, size uint64 // bytes
	writable     bool
}

// mapFile is the file name that /proc shows for every map (kernel/bpf/syscall.c, bpf_map_new_fd).
const mapFile = "anon_inode:bpf-map"

// readProcesses returns the processes that use maps, and the number of processes that it could not read fully.
// root is a mount of /proc.
func readProcesses(root string) (procs []process, hidden int, err error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, 0, err
	}
	// os.Getpid can be wrong here: root can show another pid namespace than that of this process.
	self, err := os.Readlink(filepath.Join(root, "self"))
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := readProcess(filepath.Join(root, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the process has ended
		}
		if err != nil {
			hidden++
		}
		if len(p.held) > 0 || len(p.vmas) > 0 {
			p.pid, p.self = pid, e.Name() == self
			procs = append(procs, p)
		}
	}
	return procs, hidden, nil
}

// readProcess returns what it can read of the process with the given directory. The error says what it could not
// read.
func readProcess(dir string) (process, error) {
	var p process
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	p.comm = strings.TrimSuffix(string(comm), "\n")
	var mapsErr error
	p.vmas, mapsErr = readMaps(dir)
	fds, fdErr := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		// A descriptor can be closed at any time.
		if target, err := os.Readlink(filepath.Join(dir, "fd", fd.Name())); err != nil || target != mapFile {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, "fdinfo", fd.Name()))
		if err != nil {
			continue
		}
		if s, ok := parseFdinfo(string(text)); ok {
			p.held = append(p.held, s)
		}
	}
	return p, errors.Join(err, mapsErr, fdErr)
}

// readMaps returns the mappings of BPF maps by the process with the given directory.
func readMaps(dir string) ([]vma, error) {
	var vmas []vma
	for m, err := range proc.Mappings(dir) {
		if err != nil {
			return vmas, err
		}
		if string(m.Path) == mapFile {
			vmas = append(vmas, vma{offset: m.Offset, size: m.End - m.Start, writable: m.Writable})
		}
	}
	return vmas, nil
}

// parseFdinfo returns the map in the text of /proc/PID/fdinfo/FD (bpf_map_show_fdinfo).
func parseFdinfo(text string) (shape, bool) {
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil {
			values[name] = n
		}
	}
	s := shape{id: ebpf.MapID(values["map_id"]), typ: ebpf.MapType(values["map_type"]), size: values["max_entries"]}
	if s.typ == ebpf.Arena {
		s.size *= uint64(os.Getpagesize())
	}
	return s, s.id != 0
}
