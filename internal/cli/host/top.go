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
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/internal/top"
)

func newTop() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch all rings of this host: backlog, throughput, lag, and what is stuck",
		Long: `Watch all rings of this host on the terminal, and open any of them to see its records as they
arrive, its owners and its programs. Records are observed, not consumed, and nothing on the
host is changed. ? lists the keys. If the terminal does not report its size, it is taken from
COLUMNS and LINES, or else is 80 columns and 24 lines.

Without a terminal: --once prints one sample, taken over an interval; -o json prints a
document a line after each interval, or a single document with --once.`,
		Example: "  rbtool top\n  rbtool top --once\n  rbtool top -o json --interval 10s",
		Args:    cobra.NoArgs,
	}
	output := command.OutputFlag(cmd, "table", "json")
	once := cmd.Flags().Bool("once", false, "print one sample and exit")
	every := command.Interval{Value: time.Second, Least: shortestInterval}
	cmd.Flags().Var(&every, "interval", "sample at this interval, at least "+shortestInterval.String())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		asJSON, interval := output.Value == "json", every.Value
		s := inspect.NewSampler(inspect.SamplerOptions{StuckAfter: min(interval/2, time.Second/2)})
		defer s.Close()
		var err error
		switch {
		case *once || asJSON:
			err = printSamples(cmd, s, interval, *once, asJSON)
		default:
			err = topScreen(cmd, s, interval)
		}
		if err != nil {
			return fmt.Errorf("top: %w", err)
		}
		return nil
	}
	return cmd
}

// printSamples prints one sample if once is set; otherwise one after each interval, until ctx is done.
func printSamples(cmd *cobra.Command, s *inspect.Sampler, interval time.Duration, once, asJSON bool) error {
	ctx := cmd.Context()
	if _, err := s.Sample(); err != nil {
		return err
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if once {
				return ctx.Err()
			}
			return nil // the user stopped the command
		}
		sample, err := s.Sample()
		if err != nil {
			return err
		}
		for i := range sample.Maps {
			hideSelf(&sample.Maps[i])
		}
		switch {
		case !asJSON:
			if err := command.PrintTable(cmd.OutOrStdout(), topTable(sample.Maps)); err != nil {
				return err
			}
			printNotes(cmd.ErrOrStderr(), sample.Notes)
		case once:
			err = command.PrintJSON(cmd.OutOrStdout(), jsonSample(sample))
		default:
			err = command.PrintJSONLine(cmd.OutOrStdout(), jsonSample(sample))
		}
		if once || err != nil {
			return err
		}
	}
}

func topTable(maps []inspect.Map) [][]string {
	rows := [][]string{strings.Fields("ID TYPE NAME SIZE FILL% IN/S OUT/S LAG STATE OWNER")}
	for i := range maps {
		m := &maps[i]
		cells := []string{fmt.Sprint(m.ID), maptype.Name(m.Type), cmp.Or(m.Name, "-"), command.FormatSize(m.Bytes)}
		if f := m.Flow; f != nil {
			lag := f.Lag.Round(time.Millisecond).String()
			if f.LagAtLeast {
				lag = ">=" + lag
			}
			cells = append(cells, fmt.Sprintf("%.1f", 100*m.Positions.Fill), fmt.Sprintf("%.0f", f.ProducedRate),
				fmt.Sprintf("%.0f", f.ConsumedRate), lag, string(f.State))
		} else {
			cells = append(cells, "-", "-", "-", "-", "-")
		}
		rows = append(rows, append(cells, cmp.Or(m.OwnerNames(), "-")))
	}
	return rows
}

// topScreen shows the screen until the user quits.
func topScreen(cmd *cobra.Command, s *inspect.Sampler, interval time.Duration) error {
	ctx := cmd.Context()
	out, ok := escape.Unwrap(cmd.OutOrStdout()).(*os.File)
	if !ok || !command.IsTerminal(out) {
		return command.WithHint(errors.New("standard output is not a terminal"), "use --once to print one sample, or -o json for scripts")
	}
	// Take a sample before the screen is drawn: if sampling is not permitted, fail at once.
	first, err := s.Sample()
	if err != nil {
		return err
	}
	sample := func() (*inspect.Report, error) {
		if first != nil {
			defer func() { first = nil }()
			return first, nil
		}
		return s.Sample()
	}
	m := top.NewModel(top.Config{
		Sample:   sample,
		Watch:    func(id ebpf.MapID) (top.Watch, error) { return watchRing(ctx, id) },
		Interval: interval,
		ASCII:    !utf8Locale(os.Getenv),
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

// shortestInterval is the shortest time between two samples. For comparison: a sample of hundreds of
// rings takes a millisecond.
const shortestInterval = 10 * time.Millisecond
