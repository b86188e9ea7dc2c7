package symbol

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/proc"
)

// process describes the files that a process has mapped.
type process struct {
	start    uint64 // in clock ticks since boot; tells a later process with its pid apart
	mappings []mappedFile
	program  string // path of its executable, derived from the name passed to execve(2)
}

// mappedFile is a mapping with the identity of its file, which remains valid after the process has ended.
type mappedFile struct {
	mapping
	paths    [3]string // to try: in map_files, in our root, in the root of the process
	dev, ino uint64
}

// maxProcesses bounds the processes that a Files remembers.
const maxProcesses = 4096

// Task identifies a process by its ids and start time in the initial namespaces, as events do. Start is
// in nanoseconds since boot.
type Task struct {
	PID, PPID uint32
	Start     uint64
	Comm      string
}

// seesHost reports whether /proc has the pids of the initial pid namespace, as a Task has.
func seesHost() bool {
	initial, _ := proc.InitialPIDNamespace()
	return initial
}

// AddProcesses remembers the mapped files of all processes, so that addresses can be named after a process
// has ended.
func (f *Files) AddProcesses() {
	f.scanProcesses()
	if !seesHost() {
		return
	}
	pids, _ := proc.PIDs()
	for _, pid := range pids {
		dir := proc.Dir(pid)
		if stat, err := proc.ReadStat(dir); err == nil {
			f.remember(pid, &process{start: stat.Start, mappings: readMapped(dir)})
		}
	}
}

// Started records that a process has called execve(2) with the path program.
func (f *Files) Started(t Task, program string) {
	dir := proc.Dir(t.PID)
	p := &process{start: t.Start / proc.ClockTick, program: program}
	if !filepath.IsAbs(program) {
		// The process may have ended; the working directory of its parent is often the same.
		p.program = filepath.Join(proc.Dir(t.PPID), "cwd", program)
	}
	if seesHost() {
		if mappings := readMapped(dir); alive(dir, t) {
			p.mappings = mappings
		}
	}
	for _, m := range p.mappings {
		for _, path := range m.paths[1:] {
			f.add(path)
		}
	}
	if real, err := filepath.EvalSymlinks(p.program); err == nil { // while the parent runs
		p.program = real
	}
	f.Add(p.program)
	f.remember(t.PID, p)
}

// Forked records that a process has the mappings of its parent.
func (f *Files) Forked(t Task) {
	if parent := f.processes[t.PPID]; parent != nil {
		f.remember(t.PID, &process{t.Start / proc.ClockTick, parent.mappings, parent.program})
	}
}

// Ended forgets a process. No later call refers to it.
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

// NameAt returns the name of an address in a process, as [Files.Name] does, for files in which the kernel
// finds no build id. It finds the file by the mapping at the address, current or remembered.
func (f *Files) NameAt(t Task, ip uint64, returns bool) (name string, found bool) {
	p := f.processes[t.PID]
	if p == nil || p.start != t.Start/proc.ClockTick {
		p = &process{}
	}
	if m := p.at(ip); m != nil {
		return f.nameMapped(m, ip, returns)
	}
	if dir := proc.Dir(t.PID); seesHost() {
		now := process{mappings: readMapped(dir)}
		if m := now.at(ip); m != nil && alive(dir, t) {
			return f.nameMapped(m, ip, returns)
		}
	}
	return f.nameFixed(p.program, ip, returns)
}

// nameFixed returns the name of an address in a process whose mappings are unknown, if its executable loads
// at a fixed address, as most Go programs do. Only the path identifies the executable; the name says so.
func (f *Files) nameFixed(program string, ip uint64, returns bool) (string, bool) {
	unknown := fmt.Sprintf("%#x (in no known file)", ip)
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

// at returns the mapping that contains an address, or nil.
func (p *process) at(ip uint64) *mappedFile {
	for i, m := range p.mappings {
		if ip >= m.start && ip < m.end {
			return &p.mappings[i]
		}
	}
	return nil
}

// nameMapped returns the name of an address in a mapping.
func (f *Files) nameMapped(m *mappedFile, ip uint64, returns bool) (string, bool) {
	offset := ip - m.start + m.offset
	key := fmt.Sprintf("%s %d %d", m.path, m.dev, m.ino)
	for _, path := range m.paths {
		img := f.image(key, path, func(_ *elffile.File, file *os.File) bool {
			dev, ino, err := identity(file.Stat())
			return err == nil && dev == m.dev && ino == m.ino
		})
		if img != nil {
			img.name = filepath.Base(m.path) // not the name of a link in map_files
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

// readMapped returns the mappings of a process with the identities of their files. A link in map_files
// resolves to the mapped file, whichever file has the path now (fs/proc/base.c, map_files_get_link).
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

// alive reports whether the process of a task still runs the same program.
func alive(dir string, t Task) bool {
	stat, err := proc.ReadStat(dir)
	return err == nil && stat.Start == t.Start/proc.ClockTick && stat.Comm == t.Comm
}
