package gotype

import (
	"context"
	"debug/elf"
	"encoding/binary"
	"fmt"

	"github.com/rbtool/rbtool/internal/elffile"
)

// A view reads a section at any place, by pages of which it keeps the last few.
const (
	pageSize = 64 << 10
	overlap  = 256     // bytes of the next page in each page: what is read at once, so that it lies in one page
	maxPages = 64      // that are kept: 4 MiB
	maxLoads = 8 << 10 // pages that are read: 512 MiB
)

// view reads a section at any place. After an error it reads nothing.
type view struct {
	ctx   context.Context
	e     *elffile.File
	s     elf.SectionHeader
	pages [maxPages]page
	left  int // of maxLoads
	err   error
}

// page has a part of the section.
type page struct {
	number uint64
	b      []byte // nil: not read
}

func newView(ctx context.Context, e *elffile.File, s elf.SectionHeader) *view {
	return &view{ctx: ctx, e: e, s: s, left: maxLoads}
}

// page returns page number i, or nil. It is valid until the next call.
func (v *view) page(i uint64) []byte {
	p := &v.pages[i%maxPages]
	if p.b != nil && p.number == i {
		return p.b
	}
	if v.err == nil {
		v.err = v.ctx.Err()
	}
	start := i * pageSize
	if v.err != nil || start >= v.s.Size {
		return nil
	}
	if v.left--; v.left < 0 {
		v.err = fmt.Errorf("%w: types of Go all over it", elffile.ErrFormat)
		return nil
	}
	if cap(p.b) == 0 {
		p.b = make([]byte, pageSize+overlap)
	}
	p.number, p.b = i, p.b[:min(pageSize+overlap, v.s.Size-start)]
	if v.err = v.e.ReadSection(v.s, p.b, start); v.err != nil {
		p.b = nil
	}
	return p.b
}

// holds reports whether the section has n bytes at an address.
func (v *view) holds(addr, n uint64) bool {
	return addr >= v.s.Addr && addr-v.s.Addr < v.s.Size && n <= v.s.Size-(addr-v.s.Addr)
}

// at returns n bytes at an address, at most overlap, or nil if the section has fewer. They are valid until the next call.
func (v *view) at(addr, n uint64) []byte {
	if !v.holds(addr, n) {
		return nil
	}
	off := addr - v.s.Addr
	p := v.page(off / pageSize)
	if p == nil {
		return nil
	}
	return p[off%pageSize:][:n]
}

// each calls look with the n bytes at each address that is a multiple of 8, until it reports false. look must not use v.
func (v *view) each(n uint64, look func(addr uint64, b []byte) bool) {
	skew := -v.s.Addr % wordSize
	for i := uint64(0); i*pageSize < v.s.Size; i++ {
		p := v.page(i)
		if p == nil {
			return
		}
		for off := skew; off < pageSize && off+n <= uint64(len(p)); off += wordSize {
			if !look(v.s.Addr+i*pageSize+off, p[off:][:n]) {
				return
			}
		}
	}
}

const wordSize = 8

func word(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

// Where types are, in words from the start of the module data (runtime/symtab.go, moduledata), whose first word is the address of
// .gopclntab.
const (
	typesWord   = 37 // since Go 1.20
	typesWord18 = 35
	maxModules  = 4 // places that look like module data
	maxModule   = 16 << 20
)

// typesOf returns the addresses that the types of the executable can start at. If there are none, the error matches [fs.ErrNotExist].
func typesOf(ctx context.Context, e *elffile.File) (bases []uint64, err error) {
	table, err := e.Section(".gopclntab")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{".go.module", ".noptrdata", ".data"} {
		s, err := e.Section(name)
		if err != nil || s.Size > maxModule {
			continue
		}
		v := newView(ctx, e, s)
		var modules []uint64
		v.each(wordSize, func(addr uint64, b []byte) bool {
			if word(b, 0) == table.Addr {
				modules = append(modules, addr)
			}
			return len(modules) < maxModules
		})
		for _, m := range modules {
			for _, at := range []uint64{typesWord, typesWord18} {
				if b := v.at(m+at*wordSize, wordSize); b != nil {
					bases = append(bases, word(b, 0))
				}
			}
		}
		if v.err != nil {
			return nil, v.err
		}
		if len(bases) > 0 {
			return bases, nil
		}
	}
	return nil, errNone
}
