package harness

import (
	"context"
	"fmt"
	"math/rand/v2"
)

// Metric is a figure that every contender of a benchmark yields in a round.
type Metric struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// MoreIsBetter is for rates. Times are better when less.
	MoreIsBetter bool `json:"more_is_better,omitempty"`
}

// Contender is one way of doing the work.
type Contender struct {
	Name string
	// Run does it once and returns a figure for each metric. It is to verify that
	// the work was done.
	Run func(ctx context.Context) ([]float64, error)
}

// Benchmark is some work and those who compete in it. The first contender is
// the base; the second is the base again.
type Benchmark struct {
	Name       string // unique
	Title      string // a line that says what the work is
	Metrics    []Metric
	Contenders []Contender
	Claims     []Claim
	// Close frees what the contenders use; may be nil.
	Close func() error
}

// Measure runs so many rounds. In each, every contender runs once, in an order
// that rng chooses.
func (b *Benchmark) Measure(ctx context.Context, rounds int, rng *rand.Rand) (*Result, error) {
	res := &Result{Name: b.Name, Title: b.Title, Metrics: b.Metrics}
	for _, c := range b.Contenders {
		res.Rows = append(res.Rows, Row{Contender: c.Name, Figures: make([][]float64, len(b.Metrics))})
	}
	for range rounds {
		for _, i := range rng.Perm(len(b.Contenders)) {
			if err := ctx.Err(); err != nil {
				return nil, err
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
		for m := range res.Metrics {
			res.Rows[i].Spreads = append(res.Rows[i].Spreads, res.Spread(m, i, 0))
		}
	}
	return res, nil
}

// Result is what Measure found.
type Result struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Metrics []Metric `json:"metrics"`
	Rows    []Row    `json:"rows"` // in the order of the contenders
}

// Row holds the figures of one contender.
type Row struct {
	Contender string `json:"contender"`
	// Figures has for each metric one figure for each round.
	Figures [][]float64 `json:"figures"`
	// Spreads sums the figures up, for each metric.
	Spreads []Spread `json:"spreads"`
}

// Noise is how far the base was from itself in 19 rounds of 20, as a
// factor of at least 1.
func (r *Result) Noise(metric int) float64 {
	apart := ratios(r.Rows[1].Figures[metric], r.Rows[0].Figures[metric])
	for i, x := range apart {
		apart[i] = max(x, 1/x)
	}
	return quantile(apart, 0.95)
}

// Spread sums up one contender's ratios to the base.
type Spread struct {
	Figure float64 `json:"figure"` // median, in the metric's unit
	Ratio  float64 `json:"ratio"`  // median of the rounds
	Best   float64 `json:"best"`   // of all rounds
	Bad    float64 `json:"bad"`    // 95th percentile of rounds, from the best to the worst
}

// Spread returns that of row for metric, as ratios to the row base of the same rounds.
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
