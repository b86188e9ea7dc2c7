package objects

import (
	"bytes"
	"cmp"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/rbtool/rbtool/internal/elffile"
)

// Bounds of a scan.
const (
	chunk      = 1 << 20  // bytes read at once
	maxObject  = 16 << 20 // size of an object, in bytes
	maxObjects = 64 << 20 // sum of the sizes of all objects in a file, in bytes
	maxTried   = 4096     // places that look like the start of an object
)

// ErrNone reports that a file has no BPF object.
var ErrNone = errors.New("no BPF object inside")

// span is a part of a file, in bytes.
type span struct{ start, end int64 }

// Scan finds the BPF objects in the first size bytes of r: r itself, or objects anywhere inside it. Of an
// executable or library, it searches only what is loaded as data and what is appended behind all sections; of
// other files, all. name is the name for [Object.File].
//
// The objects read r later, so it must stay usable, concurrently if the objects are. Scan does not trust the
// content of r. It reads each byte at most once, at most 1 GiB, and parses at most 64 MiB of objects. It ends early with
// the cause of ctx. A file without objects is no error.
func Scan(ctx context.Context, r io.ReaderAt, size int64, name string) (found []*Object, err error) {
	left := int64(maxFile)
	err = scan(ctx, r, size, &left, func(off, end int64) {
		if o := open(r, off, end, name); o != nil {
			found = append(found, o)
		}
	})
	return found, err
}

// scan calls each for the places of objects, as [Scan] finds them. It searches at most data bytes, which it uses up.
func scan(ctx context.Context, r io.ReaderAt, size int64, data *int64, each func(off, end int64)) error {
	head := make([]byte, headerSize)
	if n, _ := r.ReadAt(head, 0); startsObject(head[:n]) {
		each(0, size)
		return nil
	}
	var left, tried int64 = maxObjects, maxTried
	for _, s := range spans(r, size) {
		if *data -= s.end - s.start; *data < 0 {
			return fmt.Errorf("not searched to the end: %w: too much data", elffile.ErrTooLarge)
		}
		err := search(ctx, r, s, func(off int64) error {
			end, ok := extent(r, off, size)
			if tried--; !ok {
				return nil
			}
			if left -= end - off; left < 0 || tried < 0 {
				return fmt.Errorf("%w: more than %d MiB of BPF objects", elffile.ErrTooLarge, maxObjects>>20)
			}
			each(off, end)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// spans returns the parts of a file that can have objects. They do not overlap.
func spans(r io.ReaderAt, size int64) (parts []span) {
	e, err := elffile.New(r)
	if err != nil {
		return []span{{0, size}}
	}
	add := func(off, n uint64) {
		if off < uint64(size) && n >= headerSize {
			parts = append(parts, span{int64(off), int64(min(off+min(n, 1<<62), uint64(size)))})
		}
	}
	var end uint64
	for _, s := range e.Sections {
		if s.Type != elf.SHT_NOBITS && s.Offset+s.Size > s.Offset {
			end = max(end, s.Offset+s.Size)
		}
		if s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_ALLOC != 0 && s.Flags&elf.SHF_EXECINSTR == 0 {
			add(s.Offset, s.Size)
		}
	}
	if len(e.Sections) > 0 {
		add(end, uint64(size)-min(end, uint64(size))) // what is appended to the file
	} else {
		for _, s := range e.Segments {
			if s.Type == elf.PT_LOAD {
				add(s.Off, s.Filesz)
			}
		}
	}
	slices.SortFunc(parts, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	var last int64
	for i := range parts {
		parts[i].start = max(parts[i].start, last)
		last = max(last, parts[i].end)
	}
	return slices.DeleteFunc(parts, func(s span) bool { return s.end-s.start < headerSize })
}

// headerSize is the size of an ELF header, in bytes (struct elf64_hdr).
const headerSize = 64

// startsObject reports whether b starts with the header of a BPF object: relocatable, of 64 bits.
func startsObject(b []byte) bool {
	if len(b) < headerSize || string(b[:4]) != elf.ELFMAG || elf.Class(b[elf.EI_CLASS]) != elf.ELFCLASS64 {
		return false
	}
	order := orderOf(b)
	return order != nil && elf.Type(order.Uint16(b[16:])) == elf.ET_REL && elf.Machine(order.Uint16(b[18:])) == elf.EM_BPF
}

// orderOf returns the byte order of an ELF header, or nil.
func orderOf(b []byte) binary.ByteOrder {
	switch elf.Data(b[elf.EI_DATA]) {
	case elf.ELFDATA2LSB:
		return binary.LittleEndian
	case elf.ELFDATA2MSB:
		return binary.BigEndian
	}
	return nil
}

// search calls each for the places in a part of r where an object starts.
func search(ctx context.Context, r io.ReaderAt, s span, each func(off int64) error) error {
	buf := make([]byte, min(chunk, s.end-s.start))
	for at := s.start; s.end-at >= headerSize; at += int64(len(buf)) - headerSize + 1 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, err := r.ReadAt(buf[:min(int64(len(buf)), s.end-at)], at)
		if n == 0 {
			return fmt.Errorf("read: %w", err)
		}
		for b := buf[:n]; ; b = b[1:] {
			// The first byte is rare: this is faster than to look for more bytes.
			i := bytes.IndexByte(b, elf.ELFMAG[0])
			if i < 0 {
				break
			}
			if b = b[i:]; !startsObject(b) {
				continue
			}
			if err := each(at + int64(n-len(b))); err != nil {
				return err
			}
		}
		if n < len(buf) {
			break
		}
	}
	return nil
}

// extent returns the end of the object at off in a file of size bytes.
func extent(r io.ReaderAt, off, size int64) (end int64, ok bool) {
	section := io.NewSectionReader(r, off, min(size-off, maxObject))
	e, err := elffile.New(section)
	if err != nil || len(e.Sections) == 0 {
		return 0, false
	}
	head := make([]byte, headerSize)
	if n, _ := section.ReadAt(head, 0); n < headerSize {
		return 0, false
	}
	headers := elf.SectionHeader{Offset: orderOf(head).Uint64(head[40:]), Size: uint64(64 * len(e.Sections))} // e_shoff
	for _, s := range append(e.Sections, headers) {
		if s.Type == elf.SHT_NOBITS {
			continue
		}
		if s.Offset > maxObject || s.Size > maxObject || int64(s.Offset+s.Size) > section.Size() {
			return 0, false
		}
		end = max(end, off+int64(s.Offset+s.Size))
	}
	return end, true
}
