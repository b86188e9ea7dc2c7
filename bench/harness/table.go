package harness

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// WriteTable writes the result as text, one table for each metric.
func (r *Result) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n", r.Name, r.Title)
	for m, metric := range r.Metrics {
		unit := metric.Unit
		if len(r.Metrics) > 1 {
			unit = metric.Name + " " + unit
		}
		tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintf(tw, "%s\tratio\tbest\tp95\t  \n", unit)
		for i, row := range r.Rows {
			if row.Missing != "" {
				fmt.Fprintf(tw, "-\t\t\t\t  %s: left out: %s\n", row.Contender, row.Missing)
				continue
			}
			s := row.Spreads[m]
			if i == 0 {
				fmt.Fprintf(tw, "%.4g\t1\t\t\t  %s\n", s.Figure, row.Contender)
				continue
			}
			fmt.Fprintf(tw, "%.4g\t%.2f\t%.2f\t%.2f\t  %s\n", s.Figure, s.Ratio, s.Best, s.Bad, row.Contender)
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

// WriteVerdicts writes the verdicts as a table, one line for each claim.
func WriteVerdicts(w io.Writer, verdicts []Verdict) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "claim\twanted\tmeasured\tp95\tfloor\tok")
	for _, v := range verdicts {
		ok := "yes"
		if !v.OK {
			ok = "NO"
		}
		floor := ""
		if v.Floor > 0 {
			floor = fmt.Sprintf("%.2f", v.Floor)
		}
		fmt.Fprintf(tw, "%s: %s\t%s\t%.2f\t%.2f\t%s\t%s\n", v.Benchmark, v.Claim, v.Wanted, v.Measured, v.Bad, floor, ok)
	}
	return tw.Flush()
}
