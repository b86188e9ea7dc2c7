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

// process has the files that a process has mapped.
type process struct {
	start    uint64 // start time in clock ticks since boot: a later process with the same pid has a later one
	mappings []mappedFile
	program  string // path of its executable, from the path passed to execve(2)
}

// mappedFile is a mapping and its file. The file's device and inode still identify it after the process
// has ended.
type mappedFile struct {
	mapping
	paths    [3]string // where to look for it: in map_files, below our root directory, below that of the process
	dev, ino uint64
}

// maxProcesses limits how many processes a Files remembers.
const maxProcesses = 4096

// Task identifies a process as events do: by its ids and start time in the initial namespaces. Start is
// in nanoseconds since boot.
type Task struct {
	PID, PPID uint32
	Start     uint64
	Comm      string
}

// seesHost reports whether /proc shows pids of the initial pid namespace, as they are in a Task.
func seesHost() bool {
	initial, _ := proc.InitialPIDNamespace()
	return initial
}

// AddProcesses remembers the mapped files of all running processes, so that their addresses can still be
// named when they have ended.
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

// Started tells f that a process has called execve(2) with the path program.
func (f *Files) Started(t Task, program string) {
	dir := proc.Dir(t.PID)
	p := &process{start: t.Start / proc.ClockTick, program: program}
	if !filepath.IsAbs(program) {
		// The process may have ended. Its working directory was often that of its parent.
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
	if real, err := filepath.EvalSymlinks(p.program); err == nil { // works only while the parent is running
		p.program = real
	}
	f.Add(p.program)
	f.remember(t.PID, p)
}

// Forked tells f that a process was forked, with the mappings of its parent.
func (f *Files) Forked(t Task) {
	if parent := f.processes[t.PPID]; parent != nil {
		f.remember(t.PID, &process{t.Start / proc.ClockTick, parent.mappings, parent.program})
	}
}

// Ended tells f that a process has ended. No later call names it: f forgets the process.
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

// NameAt returns the name of an address in a process, as [Files.Name] does. It is for files in which the
// kernel finds no build id: it finds the file by the mapping at the address, current or remembered.
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

// nameFixed returns the name of an address in a process whose mappings are unknown. This works only if
// its executable has a fixed load address, as most Go programs have. The executable is identified only
// by its path, and so may be the wrong one: the name says so.
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

// at returns the mapping of p that contains an address, or nil.
func (p *process) at(ip uint64) *mappedFile {
	for i, m := range p.mappings {
		if ip >= m.start && ip < m.end {
			return &p.mappings[i]
		}
	}
	return nil
}

// nameMapped returns the name of an address in the mapping m.
func (f *Files) nameMapped(m *mappedFile, ip uint64, returns bool) (string, bool) {
	offset := ip - m.start + m.offset
	key := fmt.Sprintf("%s %d %d", m.path, m.dev, m.ino)
	for _, path := range m.paths {
		img := f.image(key, path, func(_ *elffile.File, file *os.File) bool {
			dev, ino, err := identity(file.Stat())
			return err == nil && dev == m.dev && ino == m.ino
		})
		if img != nil {
			img.name = filepath.Base(m.path) // the file may have been read by a link in map_files, whose name is an address range
			return img.at(offset, returns), true
		}
	}
	return fmt.Sprintf("%s+%#x", filepath.Base(m.path), offset), false
}

// identity returns the device and inode in info, or err. Its parameters are the results of Stat.
func identity(info os.FileInfo, err error) (dev, ino uint64, _ error) {
	if err != nil {
		return 0, 0, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return uint64(st.Dev), st.Ino, nil
}

// readMapped returns the mappings of a process and the identities of their files. A link in map_files
// leads to the mapped file, even if its path now belongs to another file (fs/proc/base.c,
// map_files_get_link).
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

// alive reports whether the process whose directory in /proc is dir is that of t, and still runs the
// same program.
func alive(dir string, t Task) bool {
	stat, err := proc.ReadStat(dir)
	return err == nil && stat.Start == t.Start/proc.ClockTick && stat.Comm == t.Comm
}
