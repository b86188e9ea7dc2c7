package ring

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	to     userRing // "-" is the standard output
	speed  *command.Choice
	count  command.Count
	since  timeFlag
	until  timeFlag
	show   showOptions
	filter string
	types  command.TypeOptions

	dissector bool
}

func newReplay() *cobra.Command {
	opts := replayOptions{speed: &command.Choice{Value: "max", Among: []string{"max", "1x"}}}
	cmd := &cobra.Command{
		Use:   "replay FILE...",
		Short: "Print the records of captures, or write them into a user ring buffer",
		Long: `Print the records of files that rbtool record wrote, as tail prints the records of a ring,
decoded by the types in the file. Several files are merged by the times at which their records were
read; records of several rings are shown with the names of their rings. FILE - is the standard input.

With --to MAP records become samples of a user ring buffer, as
rbtool produce writes them, waiting while the ring is full; rbtool produce --help explains --recover,
--steal and --ignore-unseen. With --to - they go to the standard output undecoded, each
preceded by its length as 4 bytes little-endian, as tail -o raw writes them and rbtool produce
--format lp32 reads them.

With --speed 1x records keep the intervals at which they were recorded. An unfinished capture is
read up to its last whole record, and a note says so.

--since and --until select records by the time that is shown of them. TIME is RFC 3339, as in JSON
(2026-12-01T18:04:05Z), a local time of day (18:04 or 18:04:05.5: the one that is nearest to the first
record, and for --until the next one after it), or a duration before now (5m, 1d).

--type and --btf decode by other types than those in the file.

--dissector prints a script for Wireshark and tshark instead, which shows the fields of the records
and filters by them: the field pid of type event is rbtool.event.pid.`,
		Example: `  rbtool replay events.pcapng -o json
  rbtool replay events-*.pcapng --since 18:04 --until 18:05
  rbtool replay events.pcapng --to /sys/fs/bpf/commands --speed 1x
  rbtool replay events.pcapng --filter 'pid == 1' --to - > records.lp32
  rbtool replay events.pcapng --dissector > my.lua
  tshark -X lua_script:my.lua -r events.pcapng -Y 'rbtool.event.pid == 1'`,
		Args: command.NonEmpty(cobra.MinimumNArgs(1)),
	}
	opts.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(cmd, args); err != nil {
			return err
		}
		p := &player{opts: &opts, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr(), title: "replay"}
		if len(args) == 1 {
			p.title += " " + args[0]
		}
		defer p.close()
		if err := p.open(cmd.Context(), cmd.InOrStdin(), args); err != nil {
			return p.fail(err)
		}
		if opts.dissector {
			return p.fail(writeDissector(p.stdout, p.files, &opts.types))
		}
		if err := p.prepare(); command.StatusOf(err) == command.StatusUsage {
			return err
		} else if err != nil {
			return p.fail(err)
		}
		return p.fail(p.run(cmd.Context()))
	}
	return cmd
}

func (o *replayOptions) flags(cmd *cobra.Command) {
	o.show.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.to.user, "to", "", "write the records, undecoded, to the user ring buffer MAP, or to -")
	o.to.overrideFlags(f)
	f.Var(o.speed, "speed", "replay as fast as possible, or as recorded")
	f.VarP(&o.count, "count", "n", "exit after this many records")
	f.Var(&o.since, "since", "begin with records of this `TIME`: 18:04, 2026-12-01T18:04:05Z or 5m ago")
	f.Var(&o.until, "until", "leave out records after this `TIME`")
	f.StringVar(&o.filter, "filter", "", "select records for which `EXPR` is true, as for tail")
	f.BoolVar(&o.dissector, "dissector", false, "print a Lua script that decodes the records in Wireshark and tshark")
	o.types.Flags(f)
	o.types.ExplainFlag(f)
	o.types.Complete(cmd)
}

// check returns a usage error for flags that contradict each other.
func (o *replayOptions) check(cmd *cobra.Command, files []string) error {
	if err := o.types.CheckNamed("replay"); err != nil {
		return err
	}
	changed := cmd.Flags().Changed
	for _, shows := range []string{"output", "fields", "full", "no-header", "json-int64"} {
		if o.to.user != "" && changed(shows) {
			return command.Usagef("replay: --%s does not go with --to", shows)
		}
	}
	for _, override := range []string{"recover", "steal", "ignore-unseen"} {
		if changed(override) && (o.to.user == "" || o.to.user == "-") {
			return command.Usagef("replay: --%s goes with --to MAP", override)
		}
	}
	for _, other := range []string{
		"output", "fields", "full", "no-header", "json-int64", "to", "speed", "count", "since", "until", "filter", "no-decode", "explain",
	} {
		if o.dissector && changed(other) {
			return command.Usagef("replay: --%s does not go with --dissector", other)
		}
	}
	if err := checkTimes(&o.since, &o.until); err != nil {
		return err
	}
	if i := slices.Index(files, "-"); i >= 0 && slices.Contains(files[i+1:], "-") {
		return command.Usagef("replay: the standard input can be read only once")
	}
	return o.show.check("replay")
}

// run replays the captures.
func (p *player) run(ctx context.Context) error {
	switch p.opts.to.user {
	case "":
		return p.play(ctx, &stream.Writer{W: p.stdout, Format: p.append})
	case "-":
		return p.play(ctx, &stream.Writer{W: p.stdout, Format: stream.NewFormat(stream.Raw, stream.FormatOptions{})})
	}
	return p.intoRing(ctx)
}
