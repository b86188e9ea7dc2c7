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

// Files finds ELF files by build id. It looks among the files passed to Add, the files that running
// processes have mapped, files below /usr/lib/debug, and programs and libraries in the usual
// directories. It remembers the paths of files that processes had mapped, and so finds them after the
// processes have ended.
// It bounds its memory to 16384 paths and 96 MiB of symbols, whatever processes map and files contain.
// One goroutine at a time may use a Files.
type Files struct {
	paths     map[string]string // path of the file with each build id
	known     map[string]bool   // paths of files whose build id was read
	images    []*image          // loaded files, the least recently used first
	scanned   time.Time         // when scanProcesses last ran
	installed bool              // scanInstalled has run
	processes map[uint32]*process
}

// Limits of a Files.
const (
	maxPaths      = 16384
	maxImageBytes = 96 << 20
	scanEvery     = time.Second
)

// image has the functions and the executable segments of a file.
type image struct {
	key       string // the file's build id, or its path
	name      string
	doubt     string // how the file was found, if it may be the wrong one
	functions []function
	segments  []elf.ProgHeader
	size      int // approximate size in memory, in bytes
}

// NewFiles returns an empty Files, which reads files when names are requested.
func NewFiles() *Files {
	return &Files{paths: make(map[string]string), known: make(map[string]bool), processes: make(map[uint32]*process)}
}

// Add makes the file at an absolute path known to f.
func (f *Files) Add(path string) {
	if filepath.IsAbs(path) {
		f.add(path)
	}
}

// Name returns the function at an offset in the file with a build id, and the file: "exit+0x12
// (libc.so.6)". If returns is set, offset is a return address, and Name looks up the call instruction
// before it. If no function contains the offset, name is the file and the offset. If the file is not
// found, name is the build id and the offset, and found is false.
func (f *Files) Name(buildID []byte, offset uint64, returns bool) (name string, found bool) {
	img := f.byBuildID(string(buildID))
	if img == nil {
		return fmt.Sprintf("build-id %x+%#x", bytes.TrimRight(buildID, "\x00"), offset), false
	}
	return img.at(offset, returns), true
}

// at returns the name of an offset in the file, as [Files.Name] describes.
func (i *image) at(offset uint64, returns bool) string {
	ip := i.address(offset)
	at := ip
	if returns {
		at-- // in the call instruction, which precedes the return address
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

// address converts an offset in the file to a virtual address relative to the load base.
func (i *image) address(offset uint64) uint64 {
	for _, s := range i.segments {
		if offset >= s.Off && offset-s.Off <= s.Filesz {
			return s.Vaddr + offset - s.Off
		}
	}
	return 0
}

// byBuildID returns the image of the file with a build id, or nil. It searches the cheapest places
// first. If it finds nothing it searches again next time: the file may appear later.
func (f *Files) byBuildID(id string) *image {
	places := []func(){
		func() {},
		f.scanProcesses,
		func() {
			h := hex.EncodeToString([]byte(strings.TrimRight(id, "\x00")))
			if len(h) > 2 {
				f.add("/usr/lib/debug/.build-id/" + h[:2] + "/" + h[2:] + ".debug")
			}
		},
		f.scanInstalled,
	}
	for _, search := range places {
		search()
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
		// The path is gone: for example /proc/PID/root of a process that has ended. Another path may
		// lead to the same file.
		delete(f.paths, id)
		delete(f.known, path)
	}
	return nil
}

// image returns the image for key: from memory, or loaded from the file at path if right accepts that
// file.
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

// scanProcesses adds the files that running processes have mapped executable. It runs at most once a
// second: otherwise it could run for every record that has a stack with unknown files.
func (f *Files) scanProcesses() {
	if time.Since(f.scanned) < scanEvery {
		return
	}
	f.scanned = time.Now()
	pids, _ := proc.PIDs()
	for _, pid := range pids {
		dir := proc.Dir(pid)
		for _, m := range readMappings(dir) {
			f.add(m.path)
			f.add(filepath.Join(dir, "root", m.path)) // path of the file as seen by a process in a container
		}
	}
}

// scanInstalled adds the programs and libraries in the usual directories. It runs only once.
func (f *Files) scanInstalled() {
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
				f.add(filepath.Join(dir, e.Name()))
			}
		}
	}
}

// add remembers the path of a file by its build id. It reads each path only once.
func (f *Files) add(path string) {
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

// load reads the functions of the file at path. It returns an error if right does not accept the file.
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
		return nil, errors.New("another file has this path now")
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
	path               string // path in the root directory of the process
}

// maxMappings limits how many mappings are read per process. A process can have 65530
// (vm.max_map_count), each with a line of 4 KiB.
const maxMappings = 256

// readMappings returns the executable file mappings of a process. dir is its directory in /proc. If the
// process has ended, there are none.
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
