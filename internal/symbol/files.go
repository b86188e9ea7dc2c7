package symbol

import (
	"bufio"
	"bytes"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Files are ELF files by their build ids, as far as they can be found: what Add was told, what
// processes that live have mapped, and what lies in /usr/lib/debug. Not for concurrent use.
type Files struct {
	added  []string          // not looked at yet
	paths  map[string]string // by build id
	known  map[string]bool   // paths that were looked at
	images map[string]*image // by build id; nil: there is none
}

// image is the functions of a file, by address, and where its parts lie.
type image struct {
	name      string
	functions []function
	segments  []elf.ProgHeader
}

// NewFiles knows no file yet, and reads none before it must.
func NewFiles() *Files {
	return &Files{paths: make(map[string]string), known: make(map[string]bool), images: make(map[string]*image)}
}

// Add tells of a file that may be wanted.
func (f *Files) Add(path string) {
	if filepath.IsAbs(path) && !f.known[path] {
		f.added = append(f.added, path)
	}
}

// Name is the function of the file with the build id that an address leads into, given as
// offset in the file: "exit+0x12 (libc.so.6)". It is a return address, unless it is where the
// task itself is. Of a file that is not found, or has no such symbol, Name is what it can say: the file
// or its build id, and the offset.
func (f *Files) Name(buildID []byte, offset uint64, returns bool) string {
	id := string(buildID)
	img, ok := f.images[id]
	if !ok {
		img = f.find(id)
		f.images[id] = img
	}
	if img == nil {
		return fmt.Sprintf("build-id %x+%#x", bytes.TrimRight(buildID, "\x00"), offset)
	}
	ip := img.address(offset)
	at := ip
	if returns {
		at-- // the call
	}
	if name := nameIn(img.functions, ip, at); name != "" {
		return name + " (" + img.name + ")"
	}
	return fmt.Sprintf("%s+%#x", img.name, offset)
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

// find looks for the file where it costs least first.
func (f *Files) find(id string) *image {
	for _, path := range f.added {
		f.look(path)
	}
	f.added = nil
	if f.paths[id] == "" {
		f.lookAtProcesses()
	}
	if f.paths[id] == "" && id != "" {
		h := hex.EncodeToString([]byte(id))
		f.look("/usr/lib/debug/.build-id/" + h[:2] + "/" + h[2:] + ".debug")
	}
	if f.paths[id] == "" {
		return nil
	}
	img, err := load(f.paths[id])
	if err != nil {
		return nil
	}
	return img
}

// lookAtProcesses looks at the files that are mapped to be run.
func (f *Files) lookAtProcesses() {
	all, _ := filepath.Glob("/proc/[0-9]*/maps")
	for _, maps := range all {
		file, err := os.Open(maps)
		if err != nil {
			continue // it ended
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			// "7f0e8c000000-7f0e8c028000 r-xp 00000000 08:01 131 /usr/lib/libc.so.6"
			fields := strings.SplitN(lines.Text(), " ", 6)
			if len(fields) < 6 || !strings.Contains(fields[1], "x") {
				continue
			}
			if path := strings.TrimLeft(fields[5], " "); strings.HasPrefix(path, "/") {
				f.look(path)
				f.look(filepath.Join(filepath.Dir(maps), "root", path)) // of a container
			}
		}
		file.Close()
	}
}

// look remembers the build id of a file, once. A file in another root has the same name as
// one here: that it is the right one its build id says.
func (f *Files) look(path string) {
	if _, rest, ok := strings.Cut(path, "/root/"); ok && strings.HasPrefix(path, "/proc/") {
		if sameFile(path, "/"+rest) {
			return
		}
	}
	if f.known[path] {
		return
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

// open opens a regular file, whatever lies there, without waiting.
func open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrInvalid
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// idSize is BPF_BUILD_ID_SIZE (include/uapi/linux/bpf.h). Shorter ids are filled up.
const idSize = 20

// buildIDOf reads the build id of a file.
func buildIDOf(path string) (string, error) {
	file, err := open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	e, err := elf.NewFile(file)
	if err != nil {
		return "", err
	}
	for _, s := range e.Sections {
		if s.Type != elf.SHT_NOTE || s.Name != ".note.gnu.build-id" || s.Size > 4096 {
			continue
		}
		// struct elf64_note: n_namesz, n_descsz, n_type; "GNU\0"; the id.
		note, err := s.Data()
		if err != nil {
			return "", err
		}
		if len(note) < 16 || string(note[12:16]) != "GNU\x00" {
			continue
		}
		size := e.ByteOrder.Uint32(note[4:])
		if size == 0 || size > idSize || int(size) > len(note)-16 {
			continue
		}
		return string(append(note[16:16+size:16+size], make([]byte, idSize-size)...)), nil
	}
	return "", errors.New("no build id")
}

// load reads the functions of a file.
func load(path string) (*image, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	e, err := elf.NewFile(file)
	if err != nil {
		return nil, err
	}
	img := &image{name: filepath.Base(path)}
	for _, p := range e.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 {
			img.segments = append(img.segments, p.ProgHeader)
		}
	}
	static, _ := e.Symbols() // a file that was stripped has none
	dynamic, _ := e.DynamicSymbols()
	for _, s := range append(static, dynamic...) {
		if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value != 0 && s.Section != elf.SHN_UNDEF {
			img.functions = append(img.functions, function{s.Value, s.Size, s.Name})
		}
	}
	sortFunctions(img.functions)
	return img, nil
}
