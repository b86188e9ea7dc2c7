package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
)

// Metric describes a figure that every contender of a benchmark yields in each round.
type Metric struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// MoreIsBetter is true for rates, false for times.
	MoreIsBetter bool `json:"more_is_better,omitempty"`
}

// Contender is one way of doing the work of a benchmark.
type Contender struct {
	Name string
	// Run does the work once, verifies that it was done, and returns a figure for each metric.
	Run func(ctx context.Context) ([]float64, error)
	// Missing, if set, says what this kernel lacks for it. Then it is not run. The first two contenders cannot be missing.
	Missing error
}

// Benchmark is some work and the contenders that do it. The first contender is the base, to which
// the others are compared. The second does the same as the first, to show the noise.
type Benchmark struct {
	Name       string // unique in a run
	Title      string // one line that describes the work
	Metrics    []Metric
	Contenders []Contender
	Claims     []Claim
	// Close releases the resources of the contenders; nil if they have none.
	Close func() error
}

// Measure runs the rounds. In each, every contender runs once, in an order chosen by rng.
func (b *Benchmark) Measure(ctx context.Context, rounds int, rng *rand.Rand) (*Result, error) {
	res := &Result{Name: b.Name, Title: b.Title, Metrics: b.Metrics}
	for _, c := range b.Contenders {
		row := Row{Contender: c.Name, Figures: make([][]float64, len(b.Metrics))}
		if c.Missing != nil {
			row.Missing = c.Missing.Error()
		}
		res.Rows = append(res.Rows, row)
	}
	for range rounds {
		for _, i := range rng.Perm(len(b.Contenders)) {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if b.Contenders[i].Missing != nil {
				continue
			}
			figures, err := b.Contenders[i].Run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s, %s: %w", b.Name, b.Contenders[i].Name, err)
			}
			for m, v := range figures {
				res.Rows[i].Figures[m] = append(res.Rows[i].Figures[m], v)
			}
		}
	}
	for i := range res.Rows {
		if res.Rows[i].Missing != "" {
			continue
		}
		for m := range res.Metrics {
			res.Rows[i].Spreads = append(res.Rows[i].Spreads, res.Spread(m, i, 0))
		}
	}
	return res, nil
}

// Result is the outcome of Measure.
type Result struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Metrics []Metric `json:"metrics"`
	Rows    []Row    `json:"rows"` // in the order of Benchmark.Contenders
}

// Row has the figures of one contender. Its slices have one element for each metric.
type Row struct {
	Contender string `json:"contender"`
	// Missing says what the kernel lacks for the contender. Then it has no figures.
	Missing string `json:"missing,omitempty"`
	// Figures[i] has the figure of each round for metric i.
	Figures [][]float64 `json:"figures"`
	// Spreads[i] summarizes Figures[i].
	Spreads []Spread `json:"spreads"`
}

// Noise returns the factor, at least 1, within which the two measurements of the base agreed in 95%
// of the rounds.
func (r *Result) Noise(metric int) float64 {
	apart := ratios(r.Rows[1].Figures[metric], r.Rows[0].Figures[metric])
	for i, x := range apart {
		apart[i] = max(x, 1/x)
	}
	return quantile(apart, 0.95)
}

// Spread summarizes one contender's ratios to the base.
type Spread struct {
	Figure float64 `json:"figure"` // median, in the metric's unit
	Ratio  float64 `json:"ratio"`  // median of the ratios of all rounds
	Best   float64 `json:"best"`   // best ratio of all rounds
	Bad    float64 `json:"bad"`    // 95th percentile of the ratios, counted from the best
}

// Spread compares the figures of a row in one metric with those of the row base in the same rounds.
// All arguments are indices.
func (r *Result) Spread(metric, row, base int) Spread {
	figures := r.Rows[row].Figures[metric]
	rel := ratios(figures, r.Rows[base].Figures[metric])
	best, bad := 0.0, 0.95
	if r.Metrics[metric].MoreIsBetter {
		best, bad = 1, 0.05
	}
	return Spread{
		Figure: median(figures),
		Ratio:  median(rel),
		Best:   quantile(rel, best),
		Bad:    quantile(rel, bad),
	}
}

func (r *Result) row(contender string) int {
	for i, row := range r.Rows {
		if row.Contender == contender {
			return i
		}
	}
	return -1
}

func (r *Result) metric(name string) int {
	for i, m := range r.Metrics {
		if m.Name == name {
			return i
		}
	}
	return -1
}
