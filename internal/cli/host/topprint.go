package host

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/internal/top"
)

// print prints a sample after each interval, until it has printed enough or the context is done.
func (o *topOptions) print(cmd *cobra.Command, host *watchedHost) error {
	ctx := cmd.Context()
	if _, err := host.Sample(); err != nil {
		return err
	}
	tick := time.NewTicker(o.interval.Value)
	defer tick.Stop()
	for printed := command.Count(0); o.count == 0 || printed < o.count; printed++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if o.count > 0 {
				return ctx.Err()
			}
			return nil // the user stopped the command
		}
		sample, err := host.Sample()
		if err != nil {
			return err
		}
		drops, err := host.drops()
		if err != nil {
			return err
		}
		if o.only != 0 {
			sample.Maps = slices.DeleteFunc(sample.Maps, func(m inspect.Map) bool { return m.ID != o.only })
			if len(sample.Maps) == 0 {
				return fmt.Errorf("map id:%d is gone", o.only)
			}
		}
		for i := range sample.Maps {
			hideSelf(&sample.Maps[i])
		}
		if err := o.printSample(cmd, sample, drops, printed > 0); err != nil {
			return err
		}
	}
	return nil
}

// printSample prints a sample. A table that follows another is set apart by an empty line.
func (o *topOptions) printSample(cmd *cobra.Command, sample *inspect.Report, drops *top.Drops, follows bool) error {
	w, format := cmd.OutOrStdout(), o.output.Value
	document := jsonSample(sample)
	for i := range document.Maps {
		m := &document.Maps[i]
		m.Drops = jsonDrops(drops.Of(m.ID))
	}
	if format == "table" && follows {
		if _, err := fmt.Fprintln(w); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	sorted := drops.Sorted(sample.Maps, o.sort.Value)
	list := command.List{
		Document: document, Objects: document.Maps, NoHeader: o.noHeader || follows && format == "csv", Stream: o.count != 1,
		Rows: func(forPrograms bool) [][]string { return topTable(sorted, drops, forPrograms) },
	}
	if err := list.Print(w, format); err != nil {
		return err
	}
	if format == "table" && !follows {
		printNotes(cmd.ErrOrStderr(), sample.Notes)
		notePerfEventArrays(cmd.ErrOrStderr(), sample.PerfEventArrays)
	}
	return nil
}

// topTable returns the rows of a table. For programs, sizes are in bytes and times in seconds, and what is unknown is empty. The
// column DROPS is there if drops are counted.
func topTable(maps []*inspect.Map, drops *top.Drops, forPrograms bool) [][]string {
	size, none := command.FormatSize, "-"
	span := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	if forPrograms {
		size, none = func(n uint64) string { return fmt.Sprint(n) }, ""
		span = func(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
	}
	titles := "ID TYPE NAME SIZE FILL% IN/S OUT/S LAG FULL LOST STATE OWNER"
	if drops != nil {
		titles = strings.Replace(titles, "STATE", "DROPS STATE", 1)
	}
	rows := [][]string{strings.Fields(titles)}
	for _, m := range maps {
		cells := []string{fmt.Sprint(m.ID), maptype.Name(m.Type), cmp.Or(m.Name, none), size(m.Bytes)}
		if f := m.Flow; f != nil {
			lag, lost := span(f.Lag), none
			if f.LagAtLeast && !forPrograms {
				lag = ">=" + lag
			}
			if n, known := drops.Lost(m); known {
				lost = fmt.Sprintf("%.0f", n)
			}
			cells = append(cells, fmt.Sprintf("%.1f", 100*m.Positions.Fill), fmt.Sprintf("%.0f", f.ProducedRate),
				fmt.Sprintf("%.0f", f.ConsumedRate), lag, span(f.Saturated), lost)
		} else {
			cells = append(cells, none, none, none, none, none, none)
		}
		if drops != nil {
			refused := none
			if n, known := drops.Records(m); known {
				refused = fmt.Sprint(n)
			}
			cells = append(cells, refused)
		}
		state := none
		if m.Flow != nil {
			state = string(m.Flow.State)
		}
		rows = append(rows, append(cells, state, cmp.Or(m.OwnerNames(), none)))
	}
	return rows
}
