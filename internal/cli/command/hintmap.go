package command

import (
	"errors"
	"path/filepath"
	"regexp"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/pin"
)

// mapHint returns a hint for a map that was not found or is of the wrong type, or "".
func mapHint(err error) string {
	missed, ok := errors.AsType[*inspect.LookupError](err)
	if !ok {
		return ""
	}
	if wrong, ok := errors.AsType[*maptype.Error](missed); ok {
		return typeHint(wrong.Type, missed.Ref)
	}
	switch {
	case missed.Ref == "id" || missed.Ref == "name" || missed.Ref == "pinned" || missed.Ref == "map": // as in the commands of bpftool
		return "write id:NUMBER or name:NAME in one word; a pin needs no word before it"
	case missed.Ref == "ringbuf" || missed.Ref == "user_ringbuf" || missed.Ref == "user-ringbuf" || missed.Ref == "arena":
		return "a map needs no word before it; rbtool ls --type " + missed.Ref + " lists those of a type"
	case otherForm(missed.Ref) != "":
		return "write " + otherForm(missed.Ref)
	case errors.Is(missed, inspect.ErrPattern):
		return "rbtool ls '" + missed.Ref + "' lists the maps"
	case errors.Is(missed, inspect.ErrReference):
		return "MAP is a path, an id or a name: rbtool ls lists the maps"
	case errors.Is(missed, inspect.ErrAmbiguous):
		return "give one of them as id:NUMBER or by its pin"
	case errors.Is(missed, pin.ErrNotPin):
		return "rbtool ls " + missed.Ref + " lists the maps that are pinned there, rbtool tail '" + filepath.Join(missed.Ref, "*") + "' reads them"
	case IsCapture(missed.Ref):
		return "rbtool replay " + missed.Ref + " prints a capture"
	case errors.Is(missed, inspect.ErrNotFound):
		return "rbtool ls lists the rings and arenas of this host"
	}
	return ""
}

// IsCapture reports whether a reference looks like the file of a capture.
func IsCapture(ref string) bool {
	ext := filepath.Ext(ref)
	return ext == ".pcapng" || ext == ".pcap"
}

// typeHint says what to do with a map of a type that the command does not take.
func typeHint(t ebpf.MapType, ref string) string {
	switch t {
	case ebpf.RingBuf:
		return "it is a ring buffer, kernel to user: rbtool tail " + ref
	case ebpf.UserRingbuf:
		return "it is a user ring buffer: rbtool produce " + ref + " writes into it, rbtool tail " + ref + " --observe watches it"
	case ebpf.Arena:
		return "it is an arena: rbtool arena heap " + ref + " shows what lies in it"
	case ebpf.ArrayOfMaps, ebpf.HashOfMaps:
		return "rbtool tail " + ref + " reads the rings in it"
	case ebpf.PerfEventArray:
		return "rbtool does not read perf event arrays: bpftool map event_pipe does"
	}
	return "rbtool does not read maps of this type: bpftool map dump does"
}

// form matches references as people write them elsewhere: id=12, #12, file:///sys/fs/bpf/events.
var form = regexp.MustCompile(`^(?:(id|name)[=/]|#|file://)(.+)$`)

// otherForm returns a reference as rbtool takes it, or "" if ref has none of these forms.
func otherForm(ref string) string {
	parts := form.FindStringSubmatch(ref)
	switch {
	case parts == nil:
		return ""
	case parts[1] != "":
		return parts[1] + ":" + parts[2]
	}
	return parts[2]
}
