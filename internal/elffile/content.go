package elffile

import (
	"debug/elf"
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

// Content returns the content of the named section. It refuses sections that are compressed or larger
// than limit bytes with [ErrTooLarge]. If there is no such section, the error matches [fs.ErrNotExist].
func (f *File) Content(name string, limit uint64) ([]byte, error) {
	if f.nameTable >= len(f.Sections) || f.Sections[f.nameTable].Size > maxSectionNames {
		return nil, fmt.Errorf("%w: the names of sections are missing or too large", ErrFormat)
	}
	names := make([]byte, f.Sections[f.nameTable].Size)
	if err := f.readAt(names, f.Sections[f.nameTable].Offset); err != nil {
		return nil, err
	}
	for i, s := range f.Sections {
		if !hasName(names, f.nameAt[i], name) || s.Type == elf.SHT_NOBITS {
			continue
		}
		if s.Flags&elf.SHF_COMPRESSED != 0 || s.Size > limit {
			return nil, fmt.Errorf("%w: section %s of %d bytes, limit %d", ErrTooLarge, name, s.Size, limit)
		}
		b := make([]byte, s.Size)
		return b, f.readAt(b, s.Offset)
	}
	return nil, fmt.Errorf("section %s: %w", name, fs.ErrNotExist)
}

// hasName reports whether the string table names has name, followed by a NUL, at offset at.
func hasName(names []byte, at uint32, name string) bool {
	end := uint64(at) + uint64(len(name))
	return end < uint64(len(names)) && string(names[at:end]) == name && names[end] == 0
}
