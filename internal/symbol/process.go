package symbol

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/rbtool/rbtool/internal/elffile"
)

// process describes the files that a process has mapped.
type process struct {
	start    uint64 // in clock ticks since boot, to tell it from a later one with its pid
	mappings []mappedFile
	program  string // path of the file that it runs, as far as its name tells
}

// mappedFile is a mapping with the file's identity, which outlives the process.
type mappedFile struct {
	mapping
	paths    [3]string // candidates: in map_files, in this root, in the process's root
	dev, ino uint64
}

// maxProcesses bounds what is remembered of processes.
const maxProcesses = 4096

// clockTick is the unit of times in /proc, for all architectures (include/uapi/asm-generic/param.h, USER_HZ).
const clockTick = 1_000_000_000 / 100

// Task identifies a process by ids and start time of the initial namespaces, as events do. Start is in
// ns since boot.
type Task struct {
	PID, PPID uint32
	Start     uint64
	Comm      string
}

// SeesAllProcesses reports whether /proc has the pids of the initial pid namespace.
func SeesAllProcesses() bool {
	const initial = "pid:[4026531836]" // include/linux/proc_ns.h, PROC_PID_INIT_INO
	ns, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && ns == initial
}

// LookAtProcesses remembers the files of all processes, and where they are mapped: a process
// that ends later can still be named.
func (f *Files) LookAtProcesses() {
	f.lookAtProcesses()
	if !SeesAllProcesses() {
		return
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, err := strconv.ParseUint(filepath.Base(dir), 10, 32)
		if err != nil {
			continue
		}
		if start, _, err := readStat(dir); err == nil {
			f.remember(uint32(pid), &process{start: start, mappings: readMapped(dir)})
		}
	}
}

// Started tells that a process has called execve(2) with the name program.
func (f *Files) Started(t Task, program string) {
	dir := fmt.Sprintf("/proc/%d", t.PID)
	p := &process{start: t.Start / clockTick, program: program}
	if !filepath.IsAbs(program) {
		// Its directory may be gone with the process; its parent's is often the same.
		p.program = filepath.Join(fmt.Sprintf("/proc/%d/cwd", t.PPID), program)
	}
	if SeesAllProcesses() {
		if mappings := readMapped(dir); alive(dir, t) {
			p.mappings = mappings
		}
	}
	for _, m := range p.mappings {
		for _, path := range m.paths[1:] {
			f.look(path)
		}
	}
	if real, err := filepath.EvalSymlinks(p.program); err == nil { // while the parent is there
		p.program = real
	}
	f.Add(p.program)
	f.remember(t.PID, p)
}

// Forked tells that a process has the mappings of its parent.
func (f *Files) Forked(t Task) {
	if parent := f.processes[t.PPID]; parent != nil {
		f.remember(t.PID, &process{t.Start / clockTick, parent.mappings, parent.program})
	}
}

// Ended tells that a process has ended and will not be asked about again.
func (f *Files) Ended(pid uint32) { delete(f.processes, pid) }

func (f *Files) remember(pid uint32, p *process) {
	for other := range f.processes {
		if len(f.processes) < maxProcesses {
			break
		}
		delete(f.processes, other)
	}
	f.processes[pid] = p
}

// NameAt is Name for an address in a process, for files without a build id that the kernel finds: by
// the mapping there, now or when the process was seen. It reports whether the file was found.
func (f *Files) NameAt(t Task, ip uint64, returns bool) (name string, found bool) {
	p := f.processes[t.PID]
	if p == nil || p.start != t.Start/clockTick {
		p = &process{}
	}
	if m := p.at(ip); m != nil {
		return f.nameMapped(m, ip, returns)
	}
	if dir := fmt.Sprintf("/proc/%d", t.PID); SeesAllProcesses() {
		now := process{mappings: readMapped(dir)}
		if m := now.at(ip); m != nil && alive(dir, t) {
			return f.nameMapped(m, ip, returns)
		}
	}
	return f.nameFixed(p.program, ip, returns)
}

// nameFixed names an address of a process that was never seen by its program, if that has a fixed
// address, as most Go programs do. The program is known by its path alone, and the name says so.
func (f *Files) nameFixed(program string, ip uint64, returns bool) (string, bool) {
	unknown := fmt.Sprintf("%#x (in no file that was seen)", ip)
	st, err := os.Stat(program)
	if err != nil {
		return unknown, false
	}
	key := fmt.Sprintf("%s of %v", program, st.ModTime())
	img := f.image(key, program, func(e *elffile.File, _ *os.File) bool { return e.Type == elf.ET_EXEC })
	if img == nil {
		return unknown, false
	}
	img.doubt = "by its path"
	for _, s := range img.segments {
		if ip >= s.Vaddr && ip-s.Vaddr < s.Filesz {
			return img.at(s.Off+ip-s.Vaddr, returns), true
		}
	}
	return unknown, false
}

// at returns the mapping that has an address.
func (p *process) at(ip uint64) *mappedFile {
	for i, m := range p.mappings {
		if ip >= m.start && ip < m.end {
			return &p.mappings[i]
		}
	}
	return nil
}

// nameMapped names an address by the file that is mapped there.
func (f *Files) nameMapped(m *mappedFile, ip uint64, returns bool) (string, bool) {
	offset := ip - m.start + m.offset
	key := fmt.Sprintf("%s %d %d", m.path, m.dev, m.ino)
	for _, path := range m.paths {
		img := f.image(key, path, func(_ *elffile.File, file *os.File) bool {
			dev, ino, err := identity(file.Stat())
			return err == nil && dev == m.dev && ino == m.ino
		})
		if img != nil {
			img.name = filepath.Base(m.path) // not that of a link in map_files
			return img.at(offset, returns), true
		}
	}
	return fmt.Sprintf("%s+%#x", filepath.Base(m.path), offset), false
}

// identity returns the device and inode of a file.
func identity(info os.FileInfo, err error) (dev, ino uint64, _ error) {
	if err != nil {
		return 0, 0, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return uint64(st.Dev), st.Ino, nil
}

// readMapped reads the mappings of a process with the identities of their files. A link in map_files
// leads to the file itself, whatever has its name now (fs/proc/base.c, map_files_get_link).
func readMapped(dir string) (list []mappedFile) {
	for _, m := range readMappings(dir) {
		link := filepath.Join(dir, "map_files", fmt.Sprintf("%x-%x", m.start, m.end))
		file := mappedFile{mapping: m, paths: [...]string{link, m.path, filepath.Join(dir, "root", m.path)}}
		var err error
		if file.dev, file.ino, err = identity(os.Stat(link)); err == nil {
			list = append(list, file)
		}
	}
	return list
}

// alive reports whether a process still runs the program that a task is about.
func alive(dir string, t Task) bool {
	start, comm, err := readStat(dir)
	return err == nil && start == t.Start/clockTick && comm == t.Comm
}

// readStat returns the start time, in clock ticks since boot, and the name in /proc/PID/stat.
func readStat(dir string) (start uint64, comm string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, "", err
	}
	// "1 (name with ) and spaces) S 0 ...", field 22 is the start.
	open, end := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
	if open < 0 || end < open {
		return 0, "", fmt.Errorf("parse %s/stat: no name", dir)
	}
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 20 {
		return 0, "", fmt.Errorf("parse %s/stat: %d fields", dir, len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, string(text[open+1 : end]), err
}
