package ring

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/maptype"
)

// lossPrinter prints what a watch finds.
type lossPrinter struct {
	stdout, stderr io.Writer
	opts           *dropsOptions
	watch          *lossWatch
	printed        bool  // a list was printed
	widths         []int // of the columns of the tables that were printed
}

// announce says which engine counts, why, and what it costs.
func (p *lossPrinter) announce() {
	for _, err := range p.watch.others {
		command.Note(p.stderr, "%v: it is left out", err)
	}
	if p.watch.counter != nil {
		info := p.watch.counter.Engine()
		command.Note(p.stderr, "counting by %s: %s %s", info.Engine, info.Why, command.CountingCost(info.CallCost))
		for _, limit := range info.Limits {
			command.Note(p.stderr, "%s", limit)
		}
	}
	if err := p.watch.undrained; err != nil {
		command.Note(p.stderr, "drains of user ring buffers are not counted: %s", command.WithoutMemlock(err))
	}
}

// follow prints what was lost in each interval until ctx is done.
func (p *lossPrinter) follow(ctx context.Context) error {
	last, err := p.watch.report()
	if err != nil {
		return err
	}
	print := func() error {
		now, err := p.watch.report()
		if err != nil {
			return err
		}
		of := now.since(last)
		last = now
		return p.interval(of)
	}
	err = p.watch.run(ctx, func() error {
		if time.Since(last.to) < p.opts.watch.Value {
			return nil
		}
		return print()
	})
	if err == nil && p.opts.output.Value != "table" {
		err = print() // the rest of the last interval: there is no report to follow
	}
	return err
}

// interval prints what was lost in an interval.
func (p *lossPrinter) interval(r *lossReport) error {
	if p.opts.output.Value == "table" && command.IsTerminal(p.stdout) {
		fmt.Fprint(escape.Unwrap(p.stdout), "\x1b[H\x1b[2J") // to the upper left, and clear
		p.printed = false
	}
	if err := p.list(r); err != nil {
		return err
	}
	if f, ok := p.stdout.(interface{ Flush() error }); ok {
		return f.Flush()
	}
	return nil
}

// list prints a report as one of several, a line or more for each ring.
func (p *lossPrinter) list(r *lossReport) error {
	doc := jsonLosses(r)
	l := command.List{Document: doc, Objects: doc.Rings, Stream: p.opts.watch.Value > 0, NoHeader: p.printed && p.opts.output.Value != "json",
		Rows: func(forPrograms bool) [][]string {
			rows := lossTable(r, forPrograms, p.opts.watch.Value > 0)
			if !forPrograms {
				p.pad(rows)
			}
			return rows
		}}
	p.printed = true
	return l.Print(p.stdout, p.opts.output.Value)
}

// pad makes the columns of a table as wide as those of the tables before it: not all have the names of the columns.
func (p *lossPrinter) pad(rows [][]string) {
	for len(p.widths) < len(rows[0]) {
		p.widths = append(p.widths, 0)
	}
	for _, row := range rows {
		for i, cell := range row {
			p.widths[i] = max(p.widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			row[i] = fmt.Sprintf("%-*s", p.widths[i], cell)
		}
	}
}

// report prints the report of the whole time.
func (p *lossPrinter) report() error {
	table := p.opts.output.Value == "table"
	if p.opts.watch.Value > 0 && !table {
		return nil // the intervals are all
	}
	r, err := p.watch.report()
	if err != nil {
		return err
	}
	if p.opts.watch.Value > 0 {
		if _, err := fmt.Fprintf(p.stdout, "\nin all, %v:\n", r.to.Sub(r.from).Round(time.Millisecond)); err != nil {
			return err
		}
		p.printed = false
	}
	if err := p.list(r); err != nil || !table {
		return err
	}
	for i := range r.rings {
		if err := p.details(&r.rings[i]); err != nil {
			return err
		}
	}
	p.note(r)
	return nil
}

// note prints what a table does not show.
func (p *lossPrinter) note(r *lossReport) {
	switch {
	case r.quiet == 1:
		command.Note(p.stderr, "1 more ring, to which no program wrote, is not shown")
	case r.quiet > 1:
		command.Note(p.stderr, "%d more rings, to which no program wrote, are not shown", r.quiet)
	}
	for _, text := range r.notes {
		command.Note(p.stderr, "%s", text)
	}
	if last := p.watch.last; last != nil && last.Missed > 0 {
		command.Note(p.stderr, "%s calls could not be looked at: the numbers of records are too low by that at most", command.Grouped(last.Missed))
	}
	if last := p.watch.last; last != nil && last.Unattributed > 0 {
		command.Note(p.stderr, "%s calls are counted for no ring", command.Grouped(last.Unattributed))
	}
}

// details prints by whom, where and when a ring lost records, and the advice.
func (p *lossPrinter) details(l *lossOf) error {
	var lines strings.Builder
	if l.counts != nil && l.counts.Failed > 0 {
		c := l.counts
		worst := c.Worst.Time // of the kernel's clock, so it can begin before the first loss
		if worst.Before(c.FirstFailure) {
			worst = c.FirstFailure
		}
		fmt.Fprintf(&lines, "\n%s (id %d) lost records from %s to %s, most in the second from %s: %s, %s\n", escape.String(l.name), l.id,
			clockTime(c.FirstFailure), clockTime(c.LastFailure), clockTime(worst), command.Grouped(c.Worst.Failed), command.RoughSize(float64(c.Worst.FailedBytes)))
		if c.Invalid > 0 {
			fmt.Fprintf(&lines, "%s of them no ring of this size can hold, or have invalid flags\n", command.Grouped(c.Invalid))
		}
		if err := command.PrintTable(&lines, lossDetails(c)); err != nil {
			return err
		}
	}
	lines.WriteString(userDetails(l))
	for i, a := range l.advice {
		if i == 0 && lines.Len() == 0 {
			fmt.Fprintf(&lines, "\n%s (id %d)\n", escape.String(l.name), l.id)
		}
		fmt.Fprintf(&lines, "advice on %s: %s\n", a.Topic, escape.String(a.Text))
	}
	if l.figures != nil && l.figures.Err != nil {
		command.Note(p.stderr, "%s: not all records could be looked at: %v", l.name, l.figures.Err)
	}
	if _, err := io.WriteString(p.stdout, lines.String()); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

func clockTime(t time.Time) string { return t.Local().Format("15:04:05") }

// lossTable returns the rows of a report, with its time if timed is set. For programs it always has the time, sizes are in bytes,
// times in seconds, and what is unknown is empty.
func lossTable(r *lossReport, forPrograms, timed bool) [][]string {
	s := lossStyle{forPrograms}
	share := "LOST%"
	if forPrograms {
		share = "SHARE"
	}
	rows := [][]string{{"ID", "TYPE", "RING", "SIZE", "TRIED", "LOST", share, "REFUSED", "HIGHWATER", "FULL"}}
	for i := range r.rings {
		rows = append(rows, lossRow(&r.rings[i], s, r.to.Sub(r.from)))
	}
	if !timed && !forPrograms {
		return rows
	}
	for i := range rows {
		first := s.time(r.to)
		if i == 0 {
			first = "TIME"
		}
		rows[i] = append([]string{first}, rows[i]...)
	}
	return rows
}

// lossRow returns the row of a ring that was watched for some time.
func lossRow(l *lossOf, s lossStyle, watched time.Duration) []string {
	size, high := command.FormatSize(l.size), s.none()
	if s.forPrograms {
		size = s.number(l.size)
	}
	if l.flow != nil {
		high = s.size(l.flow.HighWater)
	}
	tried, lost, share, refused := s.none(), s.none(), s.none(), s.none()
	if c := l.counts; c != nil {
		tried, lost, share, refused = s.number(c.Calls), s.bounded(c), s.share(c.Failed, c.Calls), s.size(c.FailedBytes)
	} else if c := l.refused; c != nil {
		lost, refused = s.number(c.Samples), s.size(c.Bytes)
	}
	return []string{fmt.Sprint(l.id), maptype.Name(l.typ), l.name, size, tried, lost, share, refused, high, s.part(l.full, watched)}
}

// lossDetails returns what a ring lost by program, CPU and size.
func lossDetails(c *drops.Ring) [][]string {
	s := lossStyle{}
	rows := [][]string{{"BY", "TRIED", "LOST", "LOST%", "REFUSED"}}
	add := func(by string, n drops.Counts) {
		rows = append(rows, []string{by, s.number(n.Calls), s.number(n.Failed), s.share(n.Failed, n.Calls), s.size(n.FailedBytes)})
	}
	more := func(what string, n int) {
		if n > 0 {
			rows = append(rows, []string{fmt.Sprintf("%d more %s", n, what)})
		}
	}
	for _, one := range c.Callers[:min(len(c.Callers), mostListed)] {
		add(callerText(&one), one.Counts)
	}
	more("programs", len(c.Callers)-mostListed)
	cpus, left := 0, 0
	for _, one := range c.CPUs {
		if one.Failed == 0 {
			continue
		}
		if cpus++; cpus > mostListed {
			left++
			continue
		}
		add(fmt.Sprintf("CPU %d", one.CPU), one.Counts)
	}
	more("CPUs", left)
	sizes := 0
	left = 0
	for _, one := range c.Sizes {
		if one.Failed == 0 {
			continue
		}
		if sizes++; sizes > mostListed {
			left++
			continue
		}
		text := fmt.Sprintf("records of %s bytes", command.Grouped(one.Min))
		if one.Max != one.Min {
			text = fmt.Sprintf("records of %s to %s bytes", command.Grouped(one.Min), command.Grouped(one.Max))
		}
		add(text, one.Counts)
	}
	more("sizes", left)
	return rows
}

// callerText describes a program: its id, name and where it is attached.
func callerText(c *drops.Caller) string {
	if c.Program == 0 {
		return "unknown program"
	}
	text := fmt.Sprintf("program %d %s", c.Program, c.Name)
	if c.Function != "" && !strings.HasPrefix(c.Function, c.Name) {
		text += ", function " + c.Function
	}
	var places []string
	for _, a := range c.Attached {
		places = append(places, a.String())
	}
	if len(places) == 0 && c.Loaded {
		places = []string{strings.ToLower(c.Type.String())}
	}
	if !c.Loaded {
		places = append(places, "unloaded")
	}
	return fmt.Sprintf("%s (%s)", text, listed(places))
}

// lossStyle formats cells.
type lossStyle struct{ forPrograms bool }

func (s lossStyle) none() string {
	if s.forPrograms {
		return ""
	}
	return "-"
}

func (s lossStyle) number(n uint64) string {
	if s.forPrograms {
		return fmt.Sprint(n)
	}
	return command.Grouped(n)
}

func (s lossStyle) size(n uint64) string {
	if s.forPrograms {
		return fmt.Sprint(n)
	}
	return command.RoughSize(float64(n))
}

func (s lossStyle) share(part, all uint64) string {
	switch {
	case s.forPrograms && all == 0:
		return ""
	case s.forPrograms:
		return fmt.Sprintf("%.4f", 100*float64(part)/float64(all))
	}
	return strings.TrimSuffix(command.Percent(part, all), "%")
}

func (s lossStyle) time(t time.Time) string {
	if s.forPrograms {
		return t.UTC().Format(time.RFC3339Nano)
	}
	return clockTime(t)
}

// part formats the time for which a ring was full.
func (s lossStyle) part(full, all time.Duration) string {
	if s.forPrograms {
		return fmt.Sprintf("%.3f", full.Seconds())
	}
	return strings.Replace(command.Percent(uint64(max(full, 0)), uint64(max(all, full, 0))), ".0%", "%", 1)
}

// bounded formats the number of lost records with its bound.
func (s lossStyle) bounded(c *drops.Ring) string {
	below, above := c.Failed-min(c.FailedLow, c.Failed), max(c.FailedHigh, c.Failed)-c.Failed
	switch text := s.number(c.Failed); {
	case s.forPrograms || below == 0 && above == 0:
		return text
	case below == above:
		return fmt.Sprintf("%s (±%s)", text, s.number(above))
	default:
		return fmt.Sprintf("%s (%s..%s)", text, s.number(c.Failed-below), s.number(c.Failed+above))
	}
}
