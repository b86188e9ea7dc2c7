package harness

import "fmt"

// Claim is a limit for one contender in one metric: a lower limit if the metric's MoreIsBetter is
// true, an upper limit otherwise.
type Claim struct {
	Contender string
	Metric    string
	// Base is the contender to which ratios are computed. If it is empty, Limit is in the metric's
	// unit.
	Base  string
	Limit float64
	// Noise replaces Limit by [Result.Noise].
	Noise bool
	// Floor, if set, is a contender that does only the necessary work: no other can be faster on
	// the machine.
	Floor string
}

// Verdict reports whether a Claim holds, and the figures that decided it.
type Verdict struct {
	Benchmark string  `json:"benchmark"`
	Claim     string  `json:"claim"`
	Wanted    string  `json:"wanted"`
	Limit     float64 `json:"limit"`
	Measured  float64 `json:"measured"` // median of the rounds
	Bad       float64 `json:"bad"`      // 95% of the rounds are at least this good
	Floor     float64 `json:"floor,omitempty"`
	OK        bool    `json:"ok"`
}

// Check compares the claim with r, which must have the claim's contenders and metric.
func (c Claim) Check(r *Result) Verdict {
	m, row := r.metric(c.Metric), r.row(c.Contender)
	metric := r.Metrics[m]
	v := Verdict{Benchmark: r.Name, Limit: c.Limit, Claim: c.Contender}
	if len(r.Metrics) > 1 {
		v.Claim += " " + metric.Name
	}
	spread := r.Spread(m, row, 0)
	if c.Base == "" {
		bad := 0.95
		if metric.MoreIsBetter {
			bad = 0.05
		}
		v.Measured, v.Bad = spread.Figure, quantile(r.Rows[row].Figures[m], bad)
	} else {
		spread = r.Spread(m, row, r.row(c.Base))
		v.Measured, v.Bad = spread.Ratio, spread.Bad
	}
	if c.Floor != "" {
		v.Floor = r.Spread(m, r.row(c.Floor), r.row(c.Base)).Ratio
	}
	if c.Noise {
		if v.Limit = r.Noise(m); metric.MoreIsBetter {
			v.Limit = 1 / v.Limit
		}
	}
	v.OK = v.Measured <= v.Limit
	bound := "<="
	if metric.MoreIsBetter {
		v.OK = v.Measured >= v.Limit
		bound = ">="
	}
	v.Wanted = fmt.Sprintf("%s %.2f", bound, v.Limit)
	switch {
	case c.Base == "":
		v.Wanted += " " + metric.Unit
	case c.Noise:
		v.Wanted += " of " + c.Base + " (noise)"
	default:
		v.Wanted += " of " + c.Base
	}
	return v
}
