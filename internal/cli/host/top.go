package host

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/top"
)

// topOptions are the flags and the argument of top.
type topOptions struct {
	output   *command.Choice
	interval command.Interval
	count    command.Count // 0: until the user stops it
	once     bool
	batch    bool
	noHeader bool
	sort     command.Choice
	only     ebpf.MapID // 0: all maps
	drops    bool
}

func newTop() *cobra.Command {
	opts := topOptions{
		interval: command.Interval{Value: time.Second, Least: shortestInterval},
		sort:     command.Choice{Value: top.Orders[0], Among: top.Orders},
	}
	cmd := &cobra.Command{
		Use:   "top [MAP]",
		Short: "Watch all rings of this host: backlog, throughput, lag, and what is stuck",
		Long: `Watch all rings of this host on the terminal, and open any of them to see its records as they
arrive, its owners and its programs; with MAP, begin in that one. Records are observed, not
consumed, and nothing on the host is changed. ? lists the keys. If the terminal does not report
its size, it is taken from COLUMNS and LINES, or else is 80 columns and 24 lines. Colours are of
the basic sixteen, and what they say is in words too; NO_COLOR turns them off. docs/top.md has
pictures.

With --drops, the reservations that fail are counted too, from the start of top: records that are
lost, of all rings or, with MAP, of that ring. That costs every reservation on the host some time, which a note says. If this kernel lets
nothing count them, the status is 3. docs/drops.md says more.

Without a terminal: --batch prints a table after each interval, -o json a document a line,
jsonl a map a line, csv a map a row; -n 1 or --once one of them.`,
		Example: "  rbtool top\n  rbtool top --once\n  rbtool top events --batch -n 10\n  rbtool top --drops --sort lost\n  rbtool top -o json --interval 10s",
		Args:    command.NonEmpty(cobra.MaximumNArgs(1)),
	}
	opts.output = command.OutputFlag(cmd, command.ListFormats()...)
	cmd.Flags().VarP(&opts.interval, "interval", "d", "sample at this interval, at least "+shortestInterval.String())
	cmd.Flags().VarP(&opts.count, "count", "n", "print this many samples and exit")
	cmd.Flags().BoolVar(&opts.once, "once", false, "print one sample and exit, as -n 1 does")
	cmd.Flags().BoolVarP(&opts.batch, "batch", "b", false, "print tables, without a screen")
	command.NoHeaderFlag(cmd.Flags(), &opts.noHeader)
	cmd.Flags().Var(&opts.sort, "sort", "sort by this at first; JSON is always in the order of ids")
	cmd.Flags().BoolVar(&opts.drops, "drops", false, dropsHelp)
	cmd.MarkFlagsMutuallyExclusive("once", "count")
	command.CompleteChoices(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.run(cmd, args); err != nil {
			return fmt.Errorf("top: %w", err)
		}
		return nil
	}
	return cmd
}

func (o *topOptions) run(cmd *cobra.Command, args []string) (err error) {
	if len(args) > 0 {
		m, err := inspect.LookupToRead(args[0], ebpf.RingBuf, ebpf.UserRingbuf, ebpf.Arena)
		if err != nil {
			return err
		}
		id, err := mapID(m)
		if err = errors.Join(err, m.Close()); err != nil {
			return err
		}
		o.only = id
	}
	if o.once {
		o.count = 1
	}
	s := inspect.NewSampler(inspect.SamplerOptions{StuckAfter: min(o.interval.Value/2, time.Second/2)})
	defer s.Close()
	host := watchedHost{Sampler: s, only: o.only}
	if o.drops {
		if err := host.count(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, host.losses.Close()) }()
	}
	if o.batch || o.count > 0 || o.output.Value != "table" {
		return o.print(cmd, &host)
	}
	return o.screen(cmd, &host)
}

func mapID(m *ebpf.Map) (ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	id, _ := info.ID()
	return id, nil
}

// screen shows the screen until the user quits.
func (o *topOptions) screen(cmd *cobra.Command, host *watchedHost) error {
	ctx := cmd.Context()
	out, ok := escape.Unwrap(cmd.OutOrStdout()).(*os.File)
	if !ok || !command.IsTerminal(out) {
		return command.WithHint(errors.New("standard output is not a terminal"), "use --once to print one sample, --batch to print one after the other, or -o json for scripts")
	}
	if term := os.Getenv("TERM"); term == "" || term == "dumb" {
		return command.WithHint(fmt.Errorf("the terminal (TERM=%s) cannot show a screen", term), "use --once to print one sample, or set TERM")
	}
	// Take a sample before the screen is drawn: if sampling is not permitted, fail at once.
	first, err := host.Sample()
	if err != nil {
		return err
	}
	sample := func() (*inspect.Report, error) {
		if first != nil {
			defer func() { first = nil }()
			return first, nil
		}
		return host.Sample()
	}
	var drops func() (*top.Drops, error)
	if host.losses != nil {
		drops = host.drops
	}
	m := top.NewModel(top.Config{
		Sample:   sample,
		Drops:    drops,
		Watch:    func(id ebpf.MapID) (top.Watch, error) { return watchRing(ctx, id) },
		Interval: o.interval.Value,
		Sort:     o.sort.Value,
		Open:     o.only,
		ASCII:    !utf8Locale(os.Getenv) || fewGlyphs(os.Getenv("TERM")),
	})
	defer m.Close()
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithOutput(out), tea.WithoutSignalHandler()).Run()
	if errors.Is(err, tea.ErrProgramKilled) && ctx.Err() != nil {
		return nil // a signal quits like the key q
	}
	return err
}

// utf8Locale reports whether the locale's encoding is UTF-8. It chooses the locale as setlocale(3) does.
func utf8Locale(getenv func(string) string) bool {
	locale := cmp.Or(getenv("LC_ALL"), getenv("LC_CTYPE"), getenv("LANG"))
	locale = strings.ToLower(locale)
	return strings.HasSuffix(locale, "utf-8") || strings.HasSuffix(locale, "utf8")
}

// fewGlyphs reports whether a terminal may lack the characters of bars and sparklines: the font of the kernel's console has
// 256 or 512 glyphs.
func fewGlyphs(term string) bool { return term == "linux" || strings.HasPrefix(term, "vt") }

// shortestInterval is the shortest time between two samples. For comparison: a sample of hundreds of
// rings takes a millisecond.
const shortestInterval = 10 * time.Millisecond
