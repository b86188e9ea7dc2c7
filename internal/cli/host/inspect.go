package host

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
)

func newInspect() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect MAP",
		Short: "Describe one ring or arena: positions, memory, users, programs, pins",
		Long: `Describe one ring: where its producer and its consumer are, the oldest record
still being written, the processes that hold it and where they run, the programs that
use it and where they are attached. Of an arena: the address at which all map it, and
how many of its pages are allocated, where the kernel counts them.
With --for it is watched for so long, too: bytes and records a second, the largest backlog,
the time for which it was at least 15/16 full, how old the oldest record is that waits, and
whether its consumer or a producer is stuck. Nothing on the host is changed.`,
		Example: "  rbtool inspect /sys/fs/bpf/events\n  rbtool inspect id:12 --for 2s\n  rbtool inspect id:12 -o json",
		Args:    command.NonEmpty(cobra.ExactArgs(1)),
	}
	output := command.OutputFlag(cmd, "table", "json")
	var watch command.Duration
	cmd.Flags().Var(&watch, "for", "watch it for so long, and say what flows")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		lookup := inspect.LookupToRead
		if watch > 0 {
			lookup = inspect.Lookup // a read-only descriptor cannot be mapped
		}
		m, err := lookup(args[0], ebpf.RingBuf, ebpf.UserRingbuf, ebpf.Arena)
		if err != nil {
			return err
		}
		defer m.Close()
		var flow *ringFlow
		if watch > 0 {
			if flow, err = watchFlow(cmd.Context(), m, time.Duration(watch)); err != nil {
				return fmt.Errorf("inspect %s: %w", args[0], err)
			}
		}
		desc, err := inspect.One(m, inspect.Options{})
		if err != nil {
			return err
		}
		hideSelf(desc)
		if flow != nil {
			desc.Flow = &flow.Flow
		}
		fault, mend := ringFault(m, args[0])
		if output.Value == "json" {
			return command.PrintJSON(cmd.OutOrStdout(), struct {
				mapJSON
				*watchedJSON
				Fault string `json:"fault,omitempty"`
			}{jsonMap(desc), flow.json(), fault})
		}
		var extra [][]string
		if fault != "" {
			extra = [][]string{{"fault", fault}, {"hint", mend}}
		}
		return describe(cmd.OutOrStdout(), desc, flow, extra...)
	}
	return cmd
}

// hideSelf removes this process from the owners: it holds the map only to inspect it.
func hideSelf(m *inspect.Map) {
	m.Users = slices.DeleteFunc(slices.Clone(m.Users), func(u inspect.User) bool { return u.Self })
}

// describe prints m, its flow unless nil, and extra rows, as a table of two columns.
func describe(w io.Writer, m *inspect.Map, flow *ringFlow, extra ...[]string) error {
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
	rows = append(rows, list("pin", m.Pins, func(path string) string { return path })...)
	if len(m.Notes) > 0 {
		rows = append(rows, list("note", m.Notes, func(note string) string { return note })...)
	}
	return command.PrintTable(w, append(rows, extra...))
}

func positionRows(p *inspect.Positions) [][]string {
	rows := [][]string{
		{"consumer", fmt.Sprint(p.Consumer)},
		{"producer", fmt.Sprint(p.Producer)},
	}
	if p.Pending != nil {
		rows = append(rows, []string{"pending", fmt.Sprint(*p.Pending)})
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

// describeUser says what a process does with the map.
func describeUser(m *inspect.Map, u inspect.User) string {
	var does []string
	maps := "maps it"
	if m.Arena != nil && m.Arena.UserBase != 0 {
		maps = fmt.Sprintf("maps it at %#x", m.Arena.UserBase) // where all do: the kernel refuses another address
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
	text := fmt.Sprintf("%s (%s): %s", u.Comm, who, strings.Join(does, ", "))
	if u.Why != "" {
		text += "; likely: " + u.Why
	}
	return text
}

// describeUnseen describes the use of the map by processes that cannot be seen from here.
func describeUnseen(m *inspect.Map) string {
	does := map[ebpf.MapType]string{ebpf.RingBuf: "consume it", ebpf.UserRingbuf: "produce into it", ebpf.Arena: "have it mapped writable"}
	return fmt.Sprintf("processes that cannot be seen from here %s (writable mappings: %d)", does[m.Type], m.UnseenWriters)
}

// list gives a row to each item, the first of which has the label; none is "-", nil, of
// which a note says why, "unknown".
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
