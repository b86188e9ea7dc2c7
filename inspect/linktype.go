package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// linkTypes names the types of enum bpf_link_type, include/uapi/linux/bpf.h.
var linkTypes = map[link.Type]string{
	link.RawTracepointType: "raw_tracepoint",
	link.TracingType:       "tracing",
	link.CgroupType:        "cgroup",
	link.IterType:          "iter",
	link.NetNsType:         "netns",
	link.XDPType:           "xdp",
	link.PerfEventType:     perfEvent,
	link.KprobeMultiType:   "kprobe_multi",
	link.StructOpsType:     "struct_ops",
	link.NetfilterType:     "netfilter",
	link.TCXType:           "tcx",
	link.UprobeMultiType:   "uprobe_multi",
	link.NetkitType:        "netkit",
}

// perfEvent is the type of a link to a perf event that is no probe or tracepoint, or of which the kernel tells no
// more (before Linux 6.6).
const perfEvent = "perf_event"

// perfTypes names the types of enum bpf_perf_event_type, include/uapi/linux/bpf.h.
var perfTypes = map[uint32]string{
	uint32(link.PerfEventUprobe): "uprobe", uint32(link.PerfEventUretprobe): "uretprobe",
	uint32(link.PerfEventKprobe): "kprobe", uint32(link.PerfEventKretprobe): "kretprobe",
	uint32(link.PerfEventTracepoint): "tracepoint", uint32(link.PerfEventEvent): perfEvent,
}

// multiReturn says that a link to many functions traces their returns: BPF_F_KPROBE_MULTI_RETURN and
// BPF_F_UPROBE_MULTI_RETURN, include/uapi/linux/bpf.h.
const multiReturn = 1

// typeOf names the type of a link. Perf events, and probes of many functions, are told apart.
func typeOf(info *link.Info) string {
	if p := info.PerfEvent(); p != nil {
		if name, ok := perfTypes[uint32(p.Type)]; ok {
			return name
		}
	}
	if k := info.KprobeMulti(); k != nil && k.Flags&multiReturn != 0 {
		return "kretprobe_multi"
	}
	if u := info.UprobeMulti(); u != nil && u.Flags&multiReturn != 0 {
		return "uretprobe_multi"
	}
	if name, ok := linkTypes[info.Type]; ok {
		return name
	}
	return fmt.Sprintf("link_type_%d", info.Type)
}

// perfTarget describes a perf event: the place of a probe, the name of a tracepoint or event.
func perfTarget(p *link.PerfEventInfo) string {
	if k := p.Kprobe(); k != nil {
		return place(k.Function, uint64(k.Offset), k.Address)
	}
	if u := p.Uprobe(); u != nil {
		return place(u.File, uint64(u.Offset), 0)
	}
	if t := p.Tracepoint(); t != nil {
		return t.Tracepoint
	}
	if e := p.Event(); e != nil {
		return eventName(e.Type, e.Config)
	}
	return ""
}

// events names perf events by type and config (enum perf_type_id and the enums after it,
// include/uapi/linux/perf_event.h), as perf does.
var events = map[[2]uint64]string{
	{unix.PERF_TYPE_HARDWARE, 0}: "cpu-cycles", {unix.PERF_TYPE_HARDWARE, 1}: "instructions", {unix.PERF_TYPE_HARDWARE, 2}: "cache-references",
	{unix.PERF_TYPE_HARDWARE, 3}: "cache-misses", {unix.PERF_TYPE_HARDWARE, 4}: "branches", {unix.PERF_TYPE_HARDWARE, 5}: "branch-misses",
	{unix.PERF_TYPE_SOFTWARE, 0}: "cpu-clock", {unix.PERF_TYPE_SOFTWARE, 1}: "task-clock", {unix.PERF_TYPE_SOFTWARE, 2}: "page-faults",
	{unix.PERF_TYPE_SOFTWARE, 3}: "context-switches", {unix.PERF_TYPE_SOFTWARE, 4}: "cpu-migrations", {unix.PERF_TYPE_SOFTWARE, 5}: "minor-faults",
	{unix.PERF_TYPE_SOFTWARE, 6}: "major-faults",
	// The kernel replaces the type of these two by that of their own PMU, the first two that it registers
	// (kernel/events/core.c, perf_event_init).
	{unix.PERF_TYPE_MAX, 0}: "cpu-clock", {unix.PERF_TYPE_MAX + 1, 0}: "task-clock",
}

func eventName(typ uint32, config uint64) string {
	if name, ok := events[[2]uint64{uint64(typ), config}]; ok {
		return name
	}
	if typ == unix.PERF_TYPE_BREAKPOINT {
		return "breakpoint"
	}
	types, _ := filepath.Glob("/sys/bus/event_source/devices/*/type")
	for _, path := range types {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == fmt.Sprint(typ) {
			return fmt.Sprintf("event %#x of %s", config, filepath.Base(filepath.Dir(path)))
		}
	}
	return fmt.Sprintf("event %#x of type %d", config, typ)
}

// place describes the location of a probe as the kernel's tracing does: symbol+0xoffset, or the address if the
// symbol is unknown.
func place(symbol string, offset, address uint64) string {
	switch {
	case symbol == "" && address == 0:
		return ""
	case symbol == "":
		return fmt.Sprintf("%#x", address)
	case offset == 0:
		return symbol
	}
	return fmt.Sprintf("%s+%#x", symbol, offset)
}

// counted returns a number of things for people.
func counted(n uint32, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
