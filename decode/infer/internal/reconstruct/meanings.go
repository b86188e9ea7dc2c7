package reconstruct

import (
	"slices"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// Meanings returns what the helpers that write a site's records say of the numbers in them, by offset.
func Meanings(s *recordflow.Site) map[int]decode.Meaning {
	found := map[int]decode.Meaning{}
	for i := range s.Writes {
		w := &s.Writes[i]
		if w.Off < 0 || w.Constant && w.Const == 0 { // a zero often stands for no value yet
			continue
		}
		m := meaningOf(w)
		if old, ok := found[int(w.Off)]; ok && old != m {
			m = decode.NoMeaning // paths of the program store different things
		}
		found[int(w.Off)] = m
	}
	for off, m := range found {
		if m == decode.NoMeaning {
			delete(found, off)
		}
	}
	return found
}

// meaningOf returns what the helper says that writes, or whose result a store writes, or else the source line.
func meaningOf(w *recordflow.Write) decode.Meaning {
	from := w.From
	switch {
	case slices.Contains(textHelpers, w.By):
		return decode.Chars
	case w.By != "":
		return lineMeaning(w)
	case w.Size == 8 && clocks[from.Helper] != decode.NoMeaning && from.Shift == 0:
		return clocks[from.Helper]
	case w.Size == 4 && from.Helper == "bpf_get_current_uid_gid" && from.Shift == 0:
		return decode.UserID
	case w.Size == 4 && from.Helper == "bpf_get_current_uid_gid" && from.Shift == 32:
		return decode.GroupID
	}
	return lineMeaning(w)
}

var clocks = map[string]decode.Meaning{
	"bpf_ktime_get_ns": decode.Ktime, "bpf_ktime_get_coarse_ns": decode.Ktime,
	"bpf_ktime_get_boot_ns": decode.Boottime, "bpf_ktime_get_tai_ns": decode.TAI,
}

// meanings returns the meanings of the fields of a layout.
func (l *layout) meanings() map[int]decode.Meaning {
	found := map[int]decode.Meaning{}
	for _, i := range l.items {
		if i.kind() != number {
			continue
		}
		m := decode.NoMeaning
		for n := range i.writes {
			w := i.writes[n].Write
			if w.Constant && w.Const == 0 {
				continue // not set
			}
			if of := meaningOf(w); m == decode.NoMeaning || m == of {
				m = of
			} else {
				m = decode.NoMeaning
				break
			}
		}
		if m != decode.NoMeaning {
			found[int(i.off)] = m
		}
	}
	return found
}
