// Package elffile reads untrusted ELF files in bounded memory. It streams sections or refuses them,
// whatever the headers claim and however large a sparse file is.
//
//	f, err := elffile.Open(path) // does not block; regular files only
//	e, err := elffile.New(f)
//	id, err := e.BuildID()
//
// debug/elf has no such bounds: it keeps all section headers, reads and decompresses each section as a
// whole, and copies the name of each symbol, although all symbols can share one long name.
// A file may have at most 1024 segments and 1024 sections; executables and libraries have about 40.
// Notes of more than 4 KiB are skipped. [File.Functions] states the bounds of symbol tables.
package elffile

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	maxHeaders = 1024
	maxNote    = 4096
)

// ErrFormat is the error for a file that is not ELF, or whose headers exceed the bounds.
var ErrFormat = errors.New("malformed or unusually large ELF file")

// File has the headers of an ELF file. It may be used concurrently if its reader may.
type File struct {
	Type     elf.Type
	Machine  elf.Machine
	Segments []elf.ProgHeader
	Sections []elf.SectionHeader // the names of sections are not kept

	r         io.ReaderAt
	wide      bool // the file is ELFCLASS64
	order     binary.ByteOrder
	nameTable int      // index of the section that has the names of sections
	nameAt    []uint32 // offset of each section's name in that section
}

// Open opens a regular file for reading, without blocking. For any other kind of file it returns an
// error matching [fs.ErrInvalid], and does not call the open function of a device or FIFO. The caller
// closes the file.
func Open(path string) (*os.File, error) {
	// An open with O_PATH does not call the driver (fs/open.c, do_dentry_open).
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("%w: not a regular file", fs.ErrInvalid)}
	}
	f, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(at), os.O_RDONLY|unix.O_NONBLOCK, 0) // O_NONBLOCK: fail instead of waiting for a lease on the file
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.Unwrap(err)}
	}
	return f, nil
}

// New reads the headers of r.
func New(r io.ReaderAt) (*File, error) {
	var ident [elf.EI_NIDENT]byte
	if _, err := r.ReadAt(ident[:], 0); err != nil || string(ident[:4]) != elf.ELFMAG {
		return nil, ErrFormat
	}
	f := &File{r: r, wide: elf.Class(ident[elf.EI_CLASS]) == elf.ELFCLASS64, order: binary.LittleEndian}
	if elf.Data(ident[elf.EI_DATA]) == elf.ELFDATA2MSB {
		f.order = binary.BigEndian
	}
	h, err := f.header()
	if err != nil {
		return nil, err
	}
	f.Type, f.Machine, f.nameTable = elf.Type(h.Type), elf.Machine(h.Machine), int(h.Shstrndx)
	if err := table(f, h.Phoff, h.Phnum, func(narrow elf.Prog32, wide elf.Prog64) {
		if !f.wide {
			wide = elf.Prog64{
				Type: narrow.Type, Flags: narrow.Flags, Off: uint64(narrow.Off), Vaddr: uint64(narrow.Vaddr),
				Filesz: uint64(narrow.Filesz), Memsz: uint64(narrow.Memsz),
			}
		}
		f.Segments = append(f.Segments, elf.ProgHeader{
			Type: elf.ProgType(wide.Type), Flags: elf.ProgFlag(wide.Flags), Off: wide.Off, Vaddr: wide.Vaddr,
			Filesz: wide.Filesz, Memsz: wide.Memsz,
		})
	}); err != nil {
		return nil, err
	}
	return f, table(f, h.Shoff, h.Shnum, func(narrow elf.Section32, wide elf.Section64) {
		if !f.wide {
			wide = elf.Section64{
				Name: narrow.Name, Type: narrow.Type, Flags: uint64(narrow.Flags), Addr: uint64(narrow.Addr), Off: uint64(narrow.Off),
				Size: uint64(narrow.Size), Link: narrow.Link, Entsize: uint64(narrow.Entsize),
			}
		}
		f.Sections = append(f.Sections, elf.SectionHeader{
			Type: elf.SectionType(wide.Type), Flags: elf.SectionFlag(wide.Flags), Addr: wide.Addr, Offset: wide.Off,
			Size: wide.Size, FileSize: wide.Size, Link: wide.Link, Entsize: wide.Entsize,
		})
		f.nameAt = append(f.nameAt, wide.Name)
	})
}

// header reads the ELF header. It converts a 32-bit header to 64 bits.
func (f *File) header() (h elf.Header64, err error) {
	if f.wide {
		err = f.decode(0, &h)
	} else {
		var narrow elf.Header32
		err = f.decode(0, &narrow)
		h.Type, h.Machine, h.Phoff, h.Shoff = narrow.Type, narrow.Machine, uint64(narrow.Phoff), uint64(narrow.Shoff)
		h.Phnum, h.Shnum, h.Shstrndx = narrow.Phnum, narrow.Shnum, narrow.Shstrndx
	}
	// A file with 65280 sections or more has Shnum 0 and the number in section 0 (elf(5), e_shnum): its
	// 0 sections are all that New reads.
	if err == nil && (h.Phnum > maxHeaders || h.Shnum > maxHeaders) {
		err = fmt.Errorf("%w: %d segments and %d sections, limit %d", ErrFormat, h.Phnum, h.Shnum, maxHeaders)
	}
	return h, err
}

func (f *File) decode(off uint64, v any) error {
	b := make([]byte, binary.Size(v))
	if err := f.readAt(b, off); err != nil {
		return err
	}
	_, err := binary.Decode(b, f.order, v)
	return err
}

// readAt reads len(b) bytes at off, or fails.
func (f *File) readAt(b []byte, off uint64) error {
	if off > 1<<62 {
		return fmt.Errorf("%w: offset %#x is out of range", ErrFormat, off)
	}
	if n, err := f.r.ReadAt(b, int64(off)); n < len(b) {
		return fmt.Errorf("%w: truncated: %w", ErrFormat, err)
	}
	return nil
}

// table calls each for the n headers at off. It sets wide if the file is ELFCLASS64, otherwise narrow.
func table[N, W any](f *File, off uint64, n uint16, each func(narrow N, wide W)) error {
	narrow, wide := make([]N, n), make([]W, n)
	if n == 0 {
		return nil
	}
	if f.wide {
		if err := f.decode(off, wide); err != nil {
			return err
		}
	} else if err := f.decode(off, narrow); err != nil {
		return err
	}
	for i := range n {
		each(narrow[i], wide[i])
	}
	return nil
}

// BuildIDSize is BPF_BUILD_ID_SIZE (include/uapi/linux/bpf.h).
const BuildIDSize = 20

// BuildID returns the file's NT_GNU_BUILD_ID, padded with zeros to 20 bytes as by the kernel. The kernel
// searches only PT_NOTE segments (lib/buildid.c, parse_build_id). BuildID also searches sections,
// because no segment covers the note of the Go linker.
func (f *File) BuildID() ([]byte, error) {
	looked := 0
	look := func(off, size uint64) []byte {
		if looked++; size > maxNote || looked > maxHeaders/16 {
			return nil
		}
		notes := make([]byte, size)
		if f.readAt(notes, off) != nil {
			return nil
		}
		return f.buildID(notes)
	}
	for _, s := range f.Segments {
		if s.Type != elf.PT_NOTE {
			continue
		}
		if id := look(s.Off, s.Filesz); id != nil {
			return id, nil
		}
	}
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOTE {
			continue
		}
		if id := look(s.Offset, s.Size); id != nil {
			return id, nil
		}
	}
	return nil, errors.New("the file has no build id")
}

// buildID returns the build id in notes, or nil (struct elf64_note: n_namesz, n_descsz, n_type).
func (f *File) buildID(notes []byte) []byte {
	const header, ntGNUBuildID = 12, 3
	for len(notes) >= header {
		name, desc := uint64(f.order.Uint32(notes)), uint64(f.order.Uint32(notes[4:]))
		typ := f.order.Uint32(notes[8:])
		notes = notes[header:]
		padded := (name + 3) &^ 3
		if padded+desc > uint64(len(notes)) {
			return nil
		}
		if typ == ntGNUBuildID && string(notes[:name]) == "GNU\x00" && desc > 0 && desc <= BuildIDSize {
			return append(notes[padded:padded+desc:padded+desc], make([]byte, BuildIDSize-desc)...)
		}
		notes = notes[min(uint64(len(notes)), padded+(desc+3)&^3):]
	}
	return nil
}
