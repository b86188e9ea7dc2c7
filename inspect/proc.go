package inspect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// process is what /proc shows of a process that uses maps.
type process struct {
	pid  int
	comm string
	self bool
	held []shape
	vmas []vma
}

// vma is a mapping of the memory of some map.
type vma struct {
	offset, size uint64 // bytes
	writable     bool
}

// mapFile is the name of a map's file, for all maps (kernel/bpf/syscall.c, bpf_map_new_fd).
const mapFile = "anon_inode:bpf-map"

// readProcesses returns the processes in proc that use maps, and how many it
// could not look into, or not fully.
func readProcesses(proc string) (procs []process, hidden int, err error) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return nil, 0, err
	}
	// Pids here are those of the namespace of this mount of proc, which need not
	// be the one that os.Getpid counts in.
	self, err := os.Readlink(filepath.Join(proc, "self"))
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		p, err := readProcess(filepath.Join(proc, e.Name()))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it ended
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

// readProcess returns as much as it can when there is an error.
func readProcess(dir string) (process, error) {
	var p process
	comm, err := os.ReadFile(filepath.Join(dir, "comm"))
	p.comm = strings.TrimSuffix(string(comm), "\n")
	var mapsErr error
	p.vmas, mapsErr = readMaps(filepath.Join(dir, "maps"))
	fds, fdErr := os.ReadDir(filepath.Join(dir, "fd"))
	for _, fd := range fds {
		// A descriptor may be closed at any time.
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

// readMaps returns the mappings of BPF maps in /proc/PID/maps. It reads line by line: a process
// can have 65530 mappings (vm.max_map_count), each of a file with a path of 4 KiB.
func readMaps(path string) ([]vma, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var vmas []vma
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if bytes.HasSuffix(lines.Bytes(), []byte(mapFile)) {
			vmas = append(vmas, parseMaps(lines.Text())...)
		}
	}
	return vmas, lines.Err()
}

// parseMaps returns the mappings of maps in the text of /proc/PID/maps, whose
// lines read (fs/proc/task_mmu.c, show_map_vma)
//
//	7f2c8a000000-7f2c8a001000 rw-s 00001000 00:0e 1057      anon_inode:bpf-map
func parseMaps(text string) []vma {
	var vmas []vma
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != mapFile {
			continue
		}
		var start, end, offset uint64
		if n, err := fmt.Sscanf(f[0]+" "+f[2], "%x-%x %x", &start, &end, &offset); n != 3 || err != nil {
			continue
		}
		vmas = append(vmas, vma{offset: offset, size: end - start, writable: strings.Contains(f[1], "w")})
	}
	return vmas
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
