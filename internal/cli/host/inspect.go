package host

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
)

func newInspect() *cobra.Command {
	var opts inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect MAP",
		Short: "Describe one ring or arena: positions, memory, users, programs, pins",
		Long: `Describe one ring: the positions of its producer and its consumer, the oldest record still
being written, the processes that hold the ring and where they run, the programs that use
it and where they are attached: kprobe or uprobe with function or file and offset, tracepoint,
cgroup by its path, network device. For an arena: its address, and how many of its pages are
allocated, where the kernel counts them.

pending is a position that the kernel keeps for itself: records before it are complete. It
moves only when a program reserves a record, so it can be behind. A record that would end
the ring's size or more after it is refused.

With --for, also watch the ring for this duration, and show bytes and records a second, the
largest backlog, for how long the ring was at least 15/16 full, the age of the oldest pending
record, whether its consumer or a producer is stuck, and in one line what would help: records that are
mostly unused or discarded, or rbtool drops, which counts refused records. With --drops, also count
the reservations that fail, by program, or the drains of a user ring buffer that fail. That costs every
reservation on the host some time, which a note says. Nothing on the host is changed.`,
		Example: "  rbtool inspect /sys/fs/bpf/events\n  rbtool inspect id:12 --for 2s\n  rbtool inspect events --for 5s --drops\n  rbtool inspect id:12 -o json",
		Args:    command.NonEmpty(cobra.ExactArgs(1)),
	}
	opts.output = command.OutputFlag(cmd, command.DocumentFormats()...)
	cmd.Flags().Var(&opts.watch, "for", "also watch the ring for this duration, and show what flows through it")
	cmd.Flags().BoolVar(&opts.drops, "drops", false, "with --for, "+dropsHelp)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if opts.drops && opts.watch == 0 {
			return command.Usagef("inspect: --drops needs --for: how long to count")
		}
		return opts.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args[0])
	}
	return cmd
}

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	watch  command.Duration
	drops  bool
	output *command.Choice
}

func (o *inspectOptions) run(ctx context.Context, w, stderr io.Writer, ref string) error {
	lookup := inspect.LookupToRead
	if o.watch > 0 {
		lookup = inspect.Lookup // the command maps the ring, and a read-only descriptor cannot be mapped
	}
	m, err := lookup(ref, ebpf.RingBuf, ebpf.UserRingbuf, ebpf.Arena)
	if err != nil {
		return err
	}
	defer m.Close()
	var flow *ringFlow
	if o.watch > 0 {
		if flow, err = o.watchFlow(ctx, stderr, m); err != nil {
			return fmt.Errorf("inspect %s: %w", ref, err)
		}
	}
	desc, err := inspect.One(m, inspect.Options{})
	if err != nil {
		return err
	}
	hideSelf(desc)
	if flow != nil {
		desc.Flow = &flow.Flow
		if flow.fault != nil {
			desc.Notes = append(desc.Notes, flow.fault.Error())
		}
	}
	fault, repair := ringFault(m, ref)
	if o.output.Value != "table" {
		document := jsonMap(desc)
		if flow != nil {
			document.Drops = jsonDrops(flow.drops)
		}
		return command.PrintDocument(w, o.output.Value, struct {
			mapJSON
			*watchedJSON
			Fault string `json:"fault,omitempty"`
		}{document, flow.json(), fault})
	}
	rows := describe(desc, flow)
	if fault != "" {
		rows = append(rows, []string{"fault", fault}, []string{"hint", repair})
	}
	return command.PrintTable(w, rows)
}

// hideSelf removes this process from the users of m: it uses the map only because it inspects it.
func hideSelf(m *inspect.Map) {
	m.Users = slices.DeleteFunc(slices.Clone(m.Users), func(u inspect.User) bool { return u.Self })
}
