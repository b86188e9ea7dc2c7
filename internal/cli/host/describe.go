package host

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/maptype"
)

// describe returns the rows of a table about m, followed by rows about flow unless flow is nil.
func describe(m *inspect.Map, flow *ringFlow) [][]string {
	rows := [][]string{
		{"id", fmt.Sprint(m.ID)},
		{"type", maptype.Name(m.Type)},
		{"name", cmp.Or(m.Name, "-")},
		{"size", fmt.Sprintf("%s (%d bytes)", command.FormatSize(m.Bytes), m.Bytes)},
		{"memory", describeMemory(m)},
		{"flags", describeFlags(m.Flags)},
	}
	if m.MapExtra != 0 {
		rows = append(rows, []string{"map_extra", fmt.Sprintf("%#x", m.MapExtra)})
	}
	if m.Arena != nil {
		address := "none yet: the first mapping decides"
		if m.Arena.UserBase != 0 {
			address = fmt.Sprintf("%#x", m.Arena.UserBase)
		}
		rows = append(rows, []string{"address", address})
	}
	if m.Positions != nil {
		rows = append(rows, positionRows(m.Positions)...)
	}
	if m.Type == ebpf.UserRingbuf && m.Positions != nil {
		rows = append(rows, []string{"refused", describeRefused(m.Positions.Refused)})
	}
	if flow != nil {
		rows = append(rows, flow.rows()...)
	}
	rows = append(rows, list("owner", m.Users, func(u inspect.User) string { return describeUser(m, u) })...)
	if m.UnseenWriters > 0 {
		rows = append(rows, []string{"unseen", describeUnseen(m)})
	}
	rows = append(rows, list("program", m.Programs, func(p inspect.Program) string {
		text := fmt.Sprintf("%s (id %d, %s)", cmp.Or(p.Name, "-"), p.ID, strings.ToLower(p.Type.String()))
		if p.Via != 0 {
			text += fmt.Sprintf(" through map id %d", p.Via)
		}
		for _, a := range p.Attached {
			text += ", at " + a.String()
		}
		return text
	})...)
	rows = append(rows, list("pin", m.Pins, func(path string) string { return describePin(m, path) })...)
	if len(m.Notes) > 0 {
		rows = append(rows, list("note", m.Notes, func(note string) string { return note })...)
	}
	return rows
}

func positionRows(p *inspect.Positions) [][]string {
	rows := [][]string{
		{"consumer", fmt.Sprint(p.Consumer)},
		{"producer", fmt.Sprint(p.Producer)},
	}
	if p.Pending != nil {
		rows = append(rows, []string{"pending", fmt.Sprintf("%d (records before it are complete; only a reservation moves it)", *p.Pending)})
	}
	if p.Overwrite != nil {
		rows = append(rows, []string{"overwrite", fmt.Sprint(*p.Overwrite)})
	}
	rows = append(rows, []string{"backlog", fmt.Sprintf("%d bytes, %.1f%% full", p.Backlog, 100*p.Fill)})
	if p.Busy != nil {
		rows = append(rows, []string{"busy", fmt.Sprintf("record of %d bytes at %d is still being written", p.Busy.Len, p.Busy.Pos)})
	}
	return rows
}

// describeRefused describes the samples that did not fit into a user ring.
func describeRefused(r *inspect.Refused) string {
	if r == nil {
		return "unknown: the ring has had no producer that counts refused samples, as rbtool produce and package userprod do"
	}
	return fmt.Sprintf("%d samples, %d bytes, for want of room; producers found none for %v", r.Samples, r.Bytes, r.Full.Round(time.Microsecond))
}

// describeUser describes what a process does with m.
func describeUser(m *inspect.Map, u inspect.User) string {
	var does []string
	maps := "maps it"
	if m.Arena != nil && m.Arena.UserBase != 0 {
		maps = fmt.Sprintf("maps it at %#x", m.Arena.UserBase) // the address is the same in every process: the kernel refuses others
	}
	for _, d := range []struct {
		is   bool
		word string
	}{
		{u.Consumes, "consumes"}, {u.Produces, "produces"},
		{u.Mapped && !u.Consumes && !u.Produces, maps}, {u.Holds, "holds a descriptor"},
	} {
		if d.is {
			does = append(does, d.word)
		}
	}
	who := fmt.Sprintf("pid %d", u.PID)
	if home := u.Home.String(); home != "" {
		who += " in " + home
	}
	if u.Home.Pod != "" {
		who += " of pod " + u.Home.Pod
	}
	text := fmt.Sprintf("%s (%s): %s", u.Comm, who, strings.Join(does, ", "))
	if u.Why != "" {
		text += "; likely: " + u.Why
	}
	return text
}

// describePin describes a pin of m. Where its name differs from that of the map, by which bpftool and other tools know the
// map, it has both.
func describePin(m *inspect.Map, pin string) string {
	if m.Name == "" || m.Name == path.Base(pin) {
		return pin
	}
	return fmt.Sprintf("%s (name in the kernel: %s)", pin, m.Name)
}

// describeUnseen describes how processes that are invisible to this process use m.
func describeUnseen(m *inspect.Map) string {
	does := map[ebpf.MapType]string{ebpf.RingBuf: "consume it", ebpf.UserRingbuf: "produce into it", ebpf.Arena: "have it mapped writable"}
	return fmt.Sprintf("processes that cannot be seen from here %s (writable mappings: %d)", does[m.Type], m.UnseenWriters)
}

// flagNames names the flags of rings and arenas (include/uapi/linux/bpf.h).
var flagNames = []struct {
	bit  uint32
	name string
}{
	{unix.BPF_F_NUMA_NODE, "numa_node"},
	{unix.BPF_F_MMAPABLE, "mmapable"},
	{mapflag.SegvOnFault, "segv_on_fault"},
	{mapflag.NoUserConv, "no_user_conv"},
	{mapflag.RBOverwrite, "rb_overwrite"},
}

// describeFlags returns flags as a number and by name.
func describeFlags(flags uint32) string {
	var names []string
	for _, f := range flagNames {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	if names == nil {
		return fmt.Sprintf("%#x", flags)
	}
	return fmt.Sprintf("%#x (%s)", flags, strings.Join(names, ", "))
}

// describeMemory describes how much memory the kernel has allocated for m.
func describeMemory(m *inspect.Map) string {
	switch {
	case m.Arena != nil && m.Arena.Pages != nil:
		all := m.Bytes / uint64(os.Getpagesize())
		return fmt.Sprintf("%d bytes: %d of %d pages, %.1f%%", m.Memory, *m.Arena.Pages, all, arenaFill(m))
	case m.Positions == nil && m.Memory == 0:
		return "unknown: this kernel does not count an arena's pages (Linux 7.3 does)"
	}
	return fmt.Sprintf("%d bytes", m.Memory)
}

// arenaFill returns how much of an arena is allocated, in percent.
func arenaFill(m *inspect.Map) float64 {
	return 100 * float64(*m.Arena.Pages) * float64(os.Getpagesize()) / float64(m.Bytes)
}

// list returns one row for each item, with the label in the first. It shows an empty list as "-", and
// nil as "unknown": a note of m then says why.
func list[T any](label string, items []T, text func(T) string) [][]string {
	if items == nil {
		return [][]string{{label, "unknown"}}
	}
	if len(items) == 0 {
		return [][]string{{label, "-"}}
	}
	var rows [][]string
	for _, item := range items {
		rows = append(rows, []string{label, text(item)})
		label = ""
	}
	return rows
}
