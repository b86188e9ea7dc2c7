package host

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/maptype"
)

// lsOptions are the flags of ls.
type lsOptions struct {
	output   *command.Choice
	sort     *command.Choice
	types    []string
	noHeader bool
	watch    command.Interval
}

func newLs() *cobra.Command {
	opts := lsOptions{sort: &command.Choice{Value: "id", Among: sortKeys}, watch: command.Interval{Least: 100 * time.Millisecond}}
	cmd := &cobra.Command{
		Use:   "ls [DIR|MAP]...",
		Short: "List every ring buffer, user ring buffer and arena of this host",
		Long: `List every ring buffer, user ring buffer and arena of this host, or those that are pinned below
DIR and those named: how full it is, which processes hold it, and where it is pinned. A process
marked * consumes the ring, or produces into a user ring buffer; @ is followed by its systemd
unit, or its container's runtime and id; (unseen)* stands for processes that cannot be seen from
here, such as those outside the container. FILL% of an arena is the share of its pages that are
allocated, where the kernel counts them. Nothing on the host is changed.

-o json is a document (with --watch, on a line), jsonl a map a line, csv has sizes in bytes.`,
		Example: `  rbtool ls
  rbtool ls /sys/fs/bpf/app --type ringbuf --sort backlog
  rbtool ls -w
  rbtool ls -o json`,
		Args: command.NonEmpty(cobra.ArbitraryArgs),
	}
	opts.output = command.OutputFlag(cmd, command.ListFormats()...)
	f := cmd.Flags()
	f.Var(opts.sort, "sort", "sort by this column")
	f.StringSliceVar(&opts.types, "type", nil, "list only maps of these `TYPES`: ringbuf, user_ringbuf, arena")
	command.NoHeaderFlag(f, &opts.noHeader)
	f.VarP(&opts.watch, "watch", "w", "list again at this interval, until interrupted")
	f.Lookup("watch").NoOptDefVal = "1s"
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions([]string{"ringbuf", "user_ringbuf", "arena"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return opts.run(cmd, args) }
	return cmd
}

func (o *lsOptions) run(cmd *cobra.Command, args []string) error {
	out := cmd.OutOrStdout()
	if o.watch.Value == 0 {
		return o.list(out, cmd.ErrOrStderr(), args)
	}
	for ctx := cmd.Context(); ctx.Err() == nil; command.Pause(ctx, o.watch.Value) {
		if command.IsTerminal(out) {
			fmt.Fprint(escape.Unwrap(out), "\x1b[H\x1b[2J") // to the upper left, and clear
		}
		if err := o.list(out, io.Discard, args); err != nil {
			return hintInterval(err, args)
		}
		if f, ok := out.(interface{ Flush() error }); ok {
			if err := f.Flush(); err != nil {
				return err
			}
		}
		o.noHeader = o.noHeader || o.output.Value == "csv" // one table with all lists
	}
	return nil
}

// hintInterval adds to err, of a list at an interval, that an argument may be the interval.
func hintInterval(err error, args []string) error {
	var d command.Duration
	for _, arg := range args {
		if errors.Is(err, inspect.ErrNotFound) && d.Set(arg) == nil {
			return command.WithHint(err, "an interval is part of its flag: -w=%s", arg)
		}
	}
	return err
}

// list lists the maps once.
func (o *lsOptions) list(stdout, stderr io.Writer, args []string) error {
	chosen, err := newSelection(o.types, args)
	if err != nil {
		return err
	}
	table := o.output.Value == "table"
	report, err := inspect.All(inspect.Options{SkipPrograms: table || o.output.Value == "csv"})
	if err != nil {
		return err
	}
	found := len(report.Maps)
	report.Maps = chosen.keep(report.Maps)
	sortMaps(report.Maps, o.sort.Value)
	for i := range report.Maps {
		hideSelf(&report.Maps[i])
	}
	document := jsonReport(report)
	list := command.List{
		Document: document, Objects: document.Maps, NoHeader: o.noHeader, Stream: o.watch.Value > 0,
		Rows: func(forPrograms bool) [][]string { return lsTable(report.Maps, forPrograms) },
	}
	if err := list.Print(stdout, o.output.Value); err != nil || !table {
		return err
	}
	printNotes(stderr, report.Notes)
	if len(args)+len(o.types) == 0 {
		notePerfEventArrays(stderr, report.PerfEventArrays)
	}
	if found == 0 {
		command.Note(stderr, "this host has no ring and no arena: rbtool probe proctrace start makes one, rbtool demo shows them")
	}
	return nil
}

// notePerfEventArrays says that the host has maps that a user may miss in the list.
func notePerfEventArrays(w io.Writer, count int) {
	switch {
	case count == 1:
		command.Note(w, "1 perf event array, which rbtool does not read")
	case count > 1:
		command.Note(w, "%d perf event arrays, which rbtool does not read", count)
	}
}

// lsTable returns the rows of ls. For programs, sizes are in bytes and what is unknown is empty.
func lsTable(maps []inspect.Map, forPrograms bool) [][]string {
	size, none := command.FormatSize, "-"
	if forPrograms {
		size, none = func(n uint64) string { return fmt.Sprint(n) }, ""
	}
	rows := [][]string{strings.Fields("ID TYPE NAME SIZE BACKLOG FILL% OWNERS PINS")}
	for _, m := range maps {
		waiting, full := none, none
		if m.Positions != nil {
			waiting = size(m.Positions.Backlog)
		}
		if f := fill(&m); f >= 0 {
			full = fmt.Sprintf("%.1f", f)
		}
		rows = append(rows, []string{
			fmt.Sprint(m.ID), maptype.Name(m.Type), cmp.Or(m.Name, none), size(m.Bytes), waiting, full,
			cmp.Or(owners(&m), none), cmp.Or(strings.Join(m.Pins, ","), none),
		})
	}
	return rows
}

// owners lists the processes that use m, in one line.
func owners(m *inspect.Map) string {
	var names []string
	for _, u := range m.Users {
		name := fmt.Sprintf("%s(%d)", u.Comm, u.PID)
		if u.Consumes || u.Produces {
			name += "*"
		}
		if home := u.Home.String(); home != "" && !everyday(home) {
			name += "@" + home
		}
		names = append(names, name)
	}
	if m.UnseenWriters > 0 {
		names = append(names, "(unseen)*")
	}
	return strings.Join(names, ",")
}

// everyday reports whether a systemd unit does not tell processes apart: a login session has most of the processes
// that people start.
func everyday(unit string) bool {
	return unit == "init.scope" || strings.HasPrefix(unit, "session-") && strings.HasSuffix(unit, ".scope")
}

func printNotes(w io.Writer, notes []string) {
	for _, text := range notes {
		command.Note(w, "%s", text)
	}
}
