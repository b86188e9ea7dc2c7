package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/proc"
)

// Files are ELF files by their build ids, as far as they can be found: what Add was told, what
// processes that live have mapped, what lies in /usr/lib/debug, and programs and libraries in the usual
// directories. A file that was seen once is found again after its processes have ended, if it is
// still there.
//
// Memory is bounded, whatever others map and whatever their files say: at most 16384 paths, and
// symbols of 96 MiB at a time. Not for concurrent use.
type Files struct {
	paths     map[string]string // by build id
	known     map[string]bool   // paths that were looked at
	images    []*image          // the one that was used last comes last
	scanned   time.Time         // of the last lookAtProcesses
	installed bool              // the usual directories were looked at
	processes map[uint32]*process
}

// Bounds of what is remembered.
const (
	maxPaths      = 16384
	maxImageBytes = 96 << 20
	scanEvery     = time.Second
)

// image is the functions of a file, by address, and where its parts lie.
type image struct {
	key       string // a build id, or a path
	name      string
	doubt     string // how the file is known, if that is not certain
	functions []function
	segments  []elf.ProgHeader
	size      int // in memory, in bytes, about
}

// NewFiles knows no file yet, and reads none before it must.
func NewFiles() *Files {
	return &Files{paths: make(map[string]string), known: make(map[string]bool), processes: make(map[uint32]*process)}
}

// Add tells of a file that may be wanted.
func (f *Files) Add(path string) {
	if filepath.IsAbs(path) {
		f.look(path)
	}
}

// Name is the function of the file with the build id that an address leads into, given as
// offset in the file: "exit+0x12 (libc.so.6)". It is a return address, unless it is where the
// task itself is. Of a file that is not found, or has no such symbol, Name is what it can say: the file
// or its build id, and the offset. It reports whether the file was found.
func (f *Files) Name(buildID []byte, offset uint64, returns bool) (name string, found bool) {
	img := f.byBuildID(string(buildID))
	if img == nil {
		return fmt.Sprintf("build-id %x+%#x", bytes.TrimRight(buildID, "\x00"), offset), false
	}
	return img.at(offset, returns), true
}

// at names what lies at an offset of the file.
func (i *image) at(offset uint64, returns bool) string {
	ip := i.address(offset)
	at := ip
	if returns {
		at-- // the call
	}
	name := nameIn(i.functions, ip, at)
	switch {
	case name == "" && i.doubt == "":
		return fmt.Sprintf("%s+%#x", i.name, offset)
	case name == "":
		return fmt.Sprintf("%s+%#x (%s)", i.name, offset, i.doubt)
	case i.doubt == "":
		return name + " (" + i.name + ")"
	}
	return name + " (" + i.name + ", " + i.doubt + ")"
}

// address is where a loader puts what lies at an offset of the file, but for the base.
func (i *image) address(offset uint64) uint64 {
	for _, s := range i.segments {
		if offset >= s.Off && offset-s.Off <= s.Filesz {
			return s.Vaddr + offset - s.Off
		}
	}
	return 0
}

// byBuildID looks for the file where it costs least first. A miss is not remembered: the file
// may be seen later.
func (f *Files) byBuildID(id string) *image {
	places := []func(){
		func() {},
		f.lookAtProcesses,
		func() {
			h := hex.EncodeToString([]byte(strings.TrimRight(id, "\x00")))
			if len(h) > 2 {
				f.look("/usr/lib/debug/.build-id/" + h[:2] + "/" + h[2:] + ".debug")
			}
		},
		f.lookAtInstalled,
	}
	for _, look := range places {
		look()
		path := f.paths[id]
		if path == "" {
			continue
		}
		img := f.image(id, path, func(e *elffile.File, _ *os.File) bool {
			now, err := e.BuildID()
			return err == nil && string(now) == id
		})
		if img != nil {
			return img
		}
		// It is gone, as /proc/PID/root is with its process. There may be another.
		delete(f.paths, id)
		delete(f.known, path)
	}
	return nil
}

// image returns the functions of the file at a path, if it is the right one.
func (f *Files) image(key, path string, right func(*elffile.File, *os.File) bool) *image {
	if i := slices.IndexFunc(f.images, func(img *image) bool { return img.key == key }); i >= 0 {
		img := f.images[i]
		f.images = append(slices.Delete(f.images, i, i+1), img)
		return img
	}
	img, err := load(path, right)
	if err != nil {
		return nil
	}
	img.key = key
	total := img.size
	for _, other := range f.images {
		total += other.size
	}
	for len(f.images) > 0 && (total > maxImageBytes || len(f.images) >= 1024) {
		total -= f.images[0].size
		f.images = slices.Delete(f.images, 0, 1)
	}
	f.images = append(f.images, img)
	return img
}

// lookAtProcesses looks at the files that all processes have mapped executable, at most once a second:
// each record may have a stack of unknown files.
func (f *Files) lookAtProcesses() {
	if time.Since(f.scanned) < scanEvery {
		return
	}
	f.scanned = time.Now()
	pids, _ := proc.PIDs()
	for _, pid := range pids {
		dir := proc.Dir(pid)
		for _, m := range readMappings(dir) {
			f.look(m.path)
			f.look(filepath.Join(dir, "root", m.path)) // of a container
		}
	}
}

// lookAtInstalled looks at programs and libraries where they are usually installed, once.
func (f *Files) lookAtInstalled() {
	if f.installed {
		return
	}
	f.installed = true
	dirs := append(filepath.SplitList(os.Getenv("PATH")), "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/lib", "/usr/lib64")
	libraries, _ := filepath.Glob("/usr/lib/*-linux-gnu*")
	for _, dir := range append(dirs, libraries...) {
		d, err := os.Open(dir)
		if err != nil {
			continue
		}
		entries, _ := d.ReadDir(maxPaths / 2)
		d.Close()
		for _, e := range entries {
			if e.Type().IsRegular() {
				f.look(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// look remembers the build id of a file, once. A file in another root has the same name as
// one here: that it is the right one its build id says.
func (f *Files) look(path string) {
	if f.known[path] || len(f.known) >= maxPaths {
		return
	}
	if _, rest, ok := strings.Cut(path, "/root/"); ok && strings.HasPrefix(path, "/proc/") {
		if sameFile(path, "/"+rest) {
			return
		}
	}
	f.known[path] = true
	if id, err := buildIDOf(path); err == nil && f.paths[id] == "" {
		f.paths[id] = path
	}
}

func sameFile(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(sa, sb)
}

// buildIDOf reads the build id of a file.
func buildIDOf(path string) (string, error) {
	file, err := elffile.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	e, err := elffile.New(file)
	if err != nil {
		return "", err
	}
	id, err := e.BuildID()
	return string(id), err
}

// load reads the functions of a file, if it is the right one.
func load(path string, right func(*elffile.File, *os.File) bool) (*image, error) {
	file, err := elffile.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	e, err := elffile.New(file)
	if err != nil {
		return nil, err
	}
	if !right(e, file) {
		return nil, errors.New("another file has its name now")
	}
	img := &image{name: filepath.Base(path)}
	for _, p := range e.Segments {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			img.segments = append(img.segments, p)
		}
	}
	functions, size := e.Functions()
	img.functions = make([]function, len(functions))
	for i, fn := range functions {
		img.functions[i] = function{fn.Addr, fn.Size, fn.Name}
	}
	img.size = size
	sortFunctions(img.functions)
	return img, nil
}

// mapping is an executable mapping of a file.
type mapping struct {
	start, end, offset uint64
	path               string // in the process's root
}

// maxMappings bounds what is read of a process, which can have 65530 of 4 KiB of text each
// (vm.max_map_count).
const maxMappings = 256

// readMappings returns the executable mappings of files in the process whose directory is
// dir, none if it has ended.
func readMappings(dir string) (list []mapping) {
	for m, err := range proc.Mappings(dir) {
		if err != nil || len(list) == maxMappings {
			return list
		}
		if m.Executable && bytes.HasPrefix(m.Path, []byte("/")) {
			list = append(list, mapping{m.Start, m.End, m.Offset, string(m.Path)})
		}
	}
	return list
}
