package host

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

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
it and where they are attached. For an arena: its address, and how many of its pages are
allocated, where the kernel counts them.

With --for, also watch the ring for this duration, and show bytes and records a second, the
largest backlog, for how long the ring was at least 15/16 full, the age of the oldest pending
record, and whether its consumer or a producer is stuck. Nothing on the host is changed.`,
		Example: "  rbtool inspect /sys/fs/bpf/events\n  rbtool inspect id:12 --for 2s\n  rbtool inspect id:12 -o json",
		Args:    command.NonEmpty(cobra.ExactArgs(1)),
	}
	opts.output = command.OutputFlag(cmd, "table", "json")
	cmd.Flags().Var(&opts.watch, "for", "also watch the ring for this duration, and show what flows through it")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return opts.run(cmd.Context(), cmd.OutOrStdout(), args[0])
	}
	return cmd
}

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	watch  command.Duration
	output *command.Choice
}

func (o *inspectOptions) run(ctx context.Context, w io.Writer, ref string) error {
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
		if flow, err = watchFlow(ctx, m, time.Duration(o.watch)); err != nil {
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
	}
	fault, repair := ringFault(m, ref)
	if o.output.Value == "json" {
		return command.PrintJSON(w, struct {
			mapJSON
			*watchedJSON
			Fault string `json:"fault,omitempty"`
		}{jsonMap(desc), flow.json(), fault})
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
