package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/proc"
)

// Bounds of a search in processes.
const (
	maxData      = 320 << 20 // bytes of data of all files: 0.1 s if they are in memory
	maxKept      = 24 << 20  // bytes of objects that are found
	maxFiles     = 64        // files of one process
	maxProcesses = 32
	maxArguments = 64 << 10              // bytes of a command line
	grace        = 40 * time.Millisecond // that a search may need to stop
)

// errTime reports that a search took too long.
var errTime = errors.New("not searched to the end: it takes too long")

// OfProcesses finds the BPF objects that fit n in the executables of processes, in object files that their command
// lines name, and in the libraries that they have mapped, each only if the files before have no object with the
// ring and a program. The best come first. It ends soon after ctx, even if reading a file blocks, and holds at most 24 MiB of objects.
//
// notes say which files it could not search and which capability that takes. It reads the files through
// /proc/PID/exe and /proc/PID/map_files, which lead to the files that run, whatever their paths lead to now;
// without CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN it looks up the libraries below /proc/PID/root. Paths of a
// command line are looked up below /proc/PID/root or /proc/PID/cwd. The objects keep no file open.
func OfProcesses(ctx context.Context, n Names, pids ...int) (found []*Object, notes []string) {
	s := bounded(ctx, func(s *searched) {
		s.names = n
		s.processes(pids)
	})
	return best(s.found, n), s.notes
}

// bounded calls search with an empty state, and returns the state when search returns or, if it does not stop soon after
// ctx is done, a new one with a note. Reading can block for as long as the owner of a file system wants.
func bounded(ctx context.Context, search func(s *searched)) *searched {
	done := make(chan *searched, 1)
	go func() {
		s := &searched{ctx: ctx, known: map[file]bool{}, data: maxData}
		search(s)
		done <- s
	}()
	select {
	case s := <-done:
		return s
	case <-ctx.Done():
	}
	select {
	case s := <-done:
		return s
	case <-time.After(grace):
		late := &searched{}
		late.note("executables of the ring's owners: %v", errTime)
		return late
	}
}

// file identifies a file.
type file struct{ dev, ino uint64 }

// searched is the state of a search in processes.
type searched struct {
	ctx   context.Context
	names Names
	known map[file]bool // files that have been searched
	size  int64         // bytes of objects that found holds
	data  int64         // bytes of files that may still be searched
	found []*Object
	debug []Debug
	notes []string
}

func (s *searched) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// processes searches the executables, then the object files that arguments name, then the libraries, until an object has
// the ring and a program.
func (s *searched) processes(pids []int) {
	if len(pids) > maxProcesses {
		s.note("only %d of the ring's %d owners are searched", maxProcesses, len(pids))
	}
	for _, search := range []func(dir string, pid int){s.executable, s.arguments, s.libraries} {
		each(pids, search)
		if slices.ContainsFunc(s.found, func(o *Object) bool { return o.Fits(s.names).rank() > 1 }) {
			return
		}
	}
}

// each calls search for the first processes, without this one, with their directories in /proc.
func each(pids []int, search func(dir string, pid int)) {
	for _, pid := range pids[:min(len(pids), maxProcesses)] {
		if pid == os.Getpid() {
			continue
		}
		// Below an open directory no name leads to a later process with the same pid.
		dir, err := os.Open(proc.Dir(uint32(pid)))
		if err != nil {
			continue // it has ended
		}
		search("/proc/self/fd/"+strconv.Itoa(int(dir.Fd())), pid)
		dir.Close()
	}
}

// executable searches the executable of a process.
func (s *searched) executable(dir string, pid int) {
	path, err := os.Readlink(dir + "/exe")
	if err == nil {
		err = s.file(dir+"/exe", fmt.Sprintf("%s (process %d)", path, pid))
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.note("executable of process %d not searched: it takes CAP_SYS_PTRACE", pid)
	case err != nil && !errors.Is(err, fs.ErrNotExist): // a kernel thread has no executable
		s.note("executable of process %d: %v", pid, cause(err))
	}
}

// arguments searches the object files that the command line of a process names: "loader prog.bpf.o".
func (s *searched) arguments(dir string, pid int) {
	f, err := os.Open(dir + "/cmdline")
	if err != nil {
		return
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxArguments))
	if err != nil {
		return
	}
	tried := 0
	for arg := range strings.SplitSeq(string(text), "\x00") {
		if _, value, ok := strings.Cut(arg, "="); ok {
			arg = value // "--object=prog.bpf.o"
		}
		if !strings.HasSuffix(arg, ".o") || tried == maxFiles || s.ctx.Err() != nil {
			continue
		}
		tried++
		name := fmt.Sprintf("%s (process %d)", arg, pid)
		// A process can write what it likes into its command line: a wrong path is no news.
		if filepath.IsAbs(arg) {
			_ = s.below(dir+"/root", arg, unix.RESOLVE_IN_ROOT, name)
		} else {
			_ = s.below(dir+"/cwd", arg, unix.RESOLVE_BENEATH, name)
		}
	}
}

// libraries searches the files that a process has mapped executable.
func (s *searched) libraries(dir string, pid int) {
	type mapped struct{ link, path string }
	var files []mapped
	seen := map[string]bool{}
	for m, err := range proc.Mappings(dir) {
		if err != nil || len(files) == maxFiles {
			break
		}
		if path := string(m.Path); m.Executable && filepath.IsAbs(path) && !seen[path] {
			seen[path] = true
			files = append(files, mapped{fmt.Sprintf("%s/map_files/%x-%x", dir, m.Start, m.End), path})
		}
	}
	for _, f := range files {
		name := fmt.Sprintf("%s (process %d)", f.path, pid)
		err := s.file(f.link, name)
		if errors.Is(err, fs.ErrPermission) {
			err = s.below(dir+"/root", f.path, unix.RESOLVE_IN_ROOT, name)
		}
		if errors.Is(err, fs.ErrPermission) {
			s.note("libraries of process %d not searched: it takes CAP_SYS_PTRACE", pid)
			return
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
			s.note("%s: %v", name, cause(err))
		}
		if s.ctx.Err() != nil {
			return
		}
	}
}

// below searches the file at a path below root. resolve is RESOLVE_IN_ROOT or RESOLVE_BENEATH: no link leads outside.
func (s *searched) below(root, path string, resolve uint64, name string) error {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve | unix.RESOLVE_NO_MAGICLINKS}
	fd, err := unix.Openat2(dir, path, &how)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return s.file("/proc/self/fd/"+strconv.Itoa(fd), name)
}

// open opens a file, unless it has been searched already: then it returns nil.
func (s *searched) open(path string) (*os.File, error) {
	f, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	id := file{uint64(st.Dev), st.Ino}
	if s.known[id] {
		f.Close()
		return nil, nil
	}
	s.known[id] = true
	return f, nil
}

// file searches the file at path, unless it has been searched already, and keeps the objects that fit.
func (s *searched) file(path, name string) error {
	f, err := s.open(path)
	if f == nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	err = scan(s.ctx, f, info.Size(), &s.data, func(off, end int64) {
		o := open(f, off, end, name)
		if o == nil {
			return
		}
		if fit := o.Fits(s.names); !fit.Ring && fit.Programs == 0 || s.size+end-off > maxKept {
			return
		}
		if o = load(f, off, end, name); o != nil {
			s.size, s.found = s.size+end-off, append(s.found, o)
		}
	})
	if err != nil && s.ctx.Err() != nil {
		return errTime
	}
	return err
}

// cause returns err without the path of a file, which is one of /proc/self.
func cause(err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return file.Err
	}
	return err
}
