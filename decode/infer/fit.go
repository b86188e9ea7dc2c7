package infer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// misfit says why a program that makes these writes cannot be writing a t: a write covers only a part of a
// number or pointer, or text goes where none is. It returns "" if the writes fit. Writes to padding fit:
// a program that assigns a struct copies its padding. Values that the compiler keeps on the stack for a while can be
// longer there.
func misfit(t btf.Type, writes []recordflow.Write) string {
	size, err := btf.Sizeof(t)
	if err != nil {
		return err.Error()
	}
	f := fitting{budget: 1 << 16}
	for i, w := range writes {
		if w.Off < 0 || w.Size <= 0 || w.Off > int64(size) || w.Moved && w.By == "" {
			continue
		}
		if w.Off+w.Size > int64(size) && !flexible(t) {
			return fmt.Sprintf("%d bytes are written at %d, beyond its end", w.Size, w.Off)
		}
		if cut := f.cut(t, 0, w.Off, w.Off+w.Size, maxNesting); cut != nil && !wholly(*cut, w, writes) {
			return fmt.Sprintf("%d bytes are written at %d, in %d bytes at %d", w.Size, w.Off, cut.size, cut.off)
		}
		if writesText(w.By) && f.budget > 0 && !f.text(t, w.Off, maxNesting) {
			return fmt.Sprintf("text is written at %d (%s)", w.Off, writes[i].By)
		}
	}
	return ""
}

// leaf is a number or pointer in a type.
type leaf struct{ off, size int64 }

// fitting bounds the work of a comparison with a hostile type. Without a budget everything fits.
type fitting struct{ budget int }

// cut returns a number or pointer of t, which lies at off, of which only a part is between lo and hi; nil if there
// is none.
func (f *fitting) cut(t btf.Type, off, lo, hi int64, depth int) *leaf {
	size, err := btf.Sizeof(t)
	if f.budget--; err != nil || depth == 0 || f.budget < 0 {
		return nil
	}
	end := off + int64(size)
	if lo >= end || hi <= off || lo <= off && hi >= end {
		return nil
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		for _, m := range t.Members {
			if m.BitfieldSize > 0 {
				continue
			}
			if l := f.cut(m.Type, off+int64(m.Offset/8), lo, hi, depth-1); l != nil {
				return l
			}
		}
	case *btf.Array:
		n, err := btf.Sizeof(t.Type)
		if err != nil || n == 0 {
			return nil
		}
		// Only the elements in which the range begins or ends can be cut.
		for _, at := range []int64{max(lo, off), min(hi, end) - 1} {
			if l := f.cut(t.Type, off+(at-off)/int64(n)*int64(n), lo, hi, depth-1); l != nil {
				return l
			}
		}
	case *btf.Int, *btf.Enum, *btf.Pointer, *btf.Float:
		return &leaf{off, int64(size)}
	}
	return nil // a program can write any member of a union
}

// wholly reports whether writes of the same source line as w cover all of l: a copy in small pieces.
func wholly(l leaf, w recordflow.Write, writes []recordflow.Write) bool {
	if w.Line.Number == 0 {
		return false
	}
	var parts []recordflow.Write
	for _, o := range writes {
		if o.Line.File == w.Line.File && o.Line.Number == w.Line.Number && o.Off >= 0 && o.Size > 0 {
			parts = append(parts, o)
		}
	}
	slices.SortFunc(parts, func(a, b recordflow.Write) int { return int(a.Off - b.Off) })
	at := l.off
	for _, o := range parts {
		if o.Off <= at {
			at = max(at, o.Off+o.Size)
		}
	}
	return at >= l.off+l.size
}

// writesText reports whether the helper writes text.
func writesText(helper string) bool {
	return helper == "bpf_get_current_comm" || strings.HasPrefix(helper, "bpf_probe_read_") && strings.HasSuffix(helper, "_str")
}

// text reports whether an array of bytes is at off in t.
func (f *fitting) text(t btf.Type, off int64, depth int) bool {
	for range depth {
		switch u := btf.UnderlyingType(t).(type) {
		case *btf.Union:
			return true
		case *btf.Array:
			if n, err := btf.Sizeof(u.Type); err != nil || n <= 1 {
				return true
			}
		case *btf.Struct:
			if len(u.Members) > 0 && off >= int64(u.Members[len(u.Members)-1].Offset/8) && flexible(t) {
				return true
			}
		}
		if t, off = memberAt(t, off); t == nil {
			return false
		}
	}
	return false
}

func names(types []btf.Type) string {
	var all []string
	for _, t := range types {
		all = append(all, t.TypeName())
	}
	return strings.Join(all, ", ")
}
