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

// Task identifies a process by ids and start time of the initial namespaces, as events do. Start is in
// ns since boot.
type Task struct {
	PID, PPID uint32
	Start     uint64
	Comm      string
}

// seesHost reports whether /proc has the pids of the initial pid namespace, which are those
// of a Task.
func seesHost() bool {
	initial, _ := proc.InitialPIDNamespace()
	return initial
}

// LookAtProcesses remembers the files of all processes, and where they are mapped: a process
// that ends later can still be named.
func (f *Files) LookAtProcesses() {
	f.lookAtProcesses()
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

// Started tells that a process has called execve(2) with the name program.
func (f *Files) Started(t Task, program string) {
	dir := proc.Dir(t.PID)
	p := &process{start: t.Start / proc.ClockTick, program: program}
	if !filepath.IsAbs(program) {
		// Its directory may be gone with the process; its parent's is often the same.
		p.program = filepath.Join(proc.Dir(t.PPID), "cwd", program)
	}
	if seesHost() {
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
		f.remember(t.PID, &process{t.Start / proc.ClockTick, parent.mappings, parent.program})
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
	stat, err := proc.ReadStat(dir)
	return err == nil && stat.Start == t.Start/proc.ClockTick && stat.Comm == t.Comm
}
