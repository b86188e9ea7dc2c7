package elffile

import (
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
)

// ErrTooLarge is the error for a file or section that exceeds the caller's limit.
var ErrTooLarge = fmt.Errorf("%w: too large", fs.ErrInvalid)

// ReadFile reads a regular file of at most limit bytes. It opens the file as [Open] does.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := readAll(f, limit)
	if err != nil {
		err = &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return b, err
}

// readAll reads r to its end. It fails if r has more than limit bytes; if r can tell its size, it fails
// before reading.
func readAll(r io.Reader, limit int64) ([]byte, error) {
	if f, ok := r.(fs.File); ok {
		if st, err := f.Stat(); err == nil && st.Size() > limit {
			return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, st.Size(), limit)
		}
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return b, err
}

// maxSectionNames is the maximum size of the string table of section names, in bytes.
const maxSectionNames = 64 << 10

// Content returns the content of the named section, which it decompresses if it is compressed by zlib. It
// refuses other compression, and sections of more than limit bytes, with [ErrTooLarge]. If there is no such
// section, the error matches [fs.ErrNotExist].
func (f *File) Content(name string, limit uint64) ([]byte, error) {
	s, err := f.Section(name)
	if err != nil {
		return nil, err
	}
	if s.Size > limit {
		return nil, fmt.Errorf("%w: section %s of %d bytes, limit %d", ErrTooLarge, name, s.Size, limit)
	}
	if s.Flags&elf.SHF_COMPRESSED != 0 {
		return f.decompress(name, s, limit)
	}
	b := make([]byte, s.Size)
	return b, f.readAt(b, s.Offset)
}

// decompress returns the content of a compressed section.
func (f *File) decompress(name string, s elf.SectionHeader, limit uint64) ([]byte, error) {
	h := elf.Chdr64{}
	size := binary.Size(h)
	if f.wide {
		if err := f.decode(s.Offset, &h); err != nil {
			return nil, err
		}
	} else {
		var narrow elf.Chdr32
		if err := f.decode(s.Offset, &narrow); err != nil {
			return nil, err
		}
		h.Type, h.Size, size = narrow.Type, uint64(narrow.Size), binary.Size(narrow)
	}
	if elf.CompressionType(h.Type) != elf.COMPRESS_ZLIB || h.Size > limit || s.Size < uint64(size) || s.Offset > 1<<62 {
		return nil, fmt.Errorf("%w: section %s of %d bytes, compressed by %v, limit %d", ErrTooLarge, name, h.Size, elf.CompressionType(h.Type), limit)
	}
	z, err := zlib.NewReader(io.NewSectionReader(f.r, int64(s.Offset)+int64(size), int64(s.Size)-int64(size)))
	if err != nil {
		return nil, fmt.Errorf("%w: section %s: %w", ErrFormat, name, err)
	}
	b, err := readAll(z, int64(h.Size))
	if err != nil || uint64(len(b)) != h.Size {
		return nil, fmt.Errorf("%w: section %s has not the %d bytes that its header says: %w", ErrFormat, name, h.Size, err)
	}
	return b, nil
}

// Section returns the header of the named section. If the file has no such section with content, the
// error matches [fs.ErrNotExist].
func (f *File) Section(name string) (elf.SectionHeader, error) {
	if f.nameTable >= len(f.Sections) || f.Sections[f.nameTable].Size > maxSectionNames {
		return elf.SectionHeader{}, fmt.Errorf("%w: the names of sections are missing or too large", ErrFormat)
	}
	names := make([]byte, f.Sections[f.nameTable].Size)
	if err := f.readAt(names, f.Sections[f.nameTable].Offset); err != nil {
		return elf.SectionHeader{}, err
	}
	for i, s := range f.Sections {
		if hasName(names, f.nameAt[i], name) && s.Type != elf.SHT_NOBITS {
			return s, nil
		}
	}
	return elf.SectionHeader{}, fmt.Errorf("section %s: %w", name, fs.ErrNotExist)
}

// hasName reports whether the string table names has name, followed by a NUL, at offset at.
func hasName(names []byte, at uint32, name string) bool {
	end := uint64(at) + uint64(len(name))
	return end < uint64(len(names)) && string(names[at:end]) == name && names[end] == 0
}

// ReadSection reads len(b) bytes at offset off of section s, as they are in the file. It fails if s has fewer.
func (f *File) ReadSection(s elf.SectionHeader, b []byte, off uint64) error {
	if off > s.Size || uint64(len(b)) > s.Size-off || s.Offset > 1<<61 || off > 1<<61 {
		return fmt.Errorf("%w: %d bytes at %#x of a section of %d bytes", ErrFormat, len(b), off, s.Size)
	}
	return f.readAt(b, s.Offset+off)
}
