package harness

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQuantile(t *testing.T) {
	tests := []struct {
		rule   string
		values []float64
		q      float64
		want   float64
	}{
		{"the median of an odd number is the middle one", []float64{3, 1, 2}, 0.5, 2},
		{"the median of an even number lies between the middle two", []float64{4, 1, 3, 2}, 0.5, 2.5},
		{"0 is the least", []float64{3, 1, 2}, 0, 1},
		{"1 is the greatest", []float64{3, 1, 2}, 1, 3},
		{"others are interpolated", []float64{0, 10, 20}, 0.75, 15},
		{"one value is every quantile", []float64{7}, 0.95, 7},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if got := quantile(tt.values, tt.q); got != tt.want {
				t.Errorf("quantile(%v, %v) = %v, want %v", tt.values, tt.q, got, tt.want)
			}
		})
	}
}

// measured returns the result of a benchmark whose contenders, in the given order, yield the
// figures in rows, one in each round. The first contender in order is the base.
func measured(t *testing.T, metric Metric, rows map[string][]float64, order ...string) *Result {
	t.Helper()
	b := Benchmark{Name: "b", Metrics: []Metric{metric}}
	rounds := 0
	for _, name := range order {
		figures := rows[name]
		rounds = len(figures)
		next := 0
		b.Contenders = append(b.Contenders, Contender{Name: name, Run: func(context.Context) ([]float64, error) {
			next++
			return figures[next-1 : next], nil
		}})
	}
	res, err := b.Measure(t.Context(), rounds, rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestClaim(t *testing.T) {
	time, rate := Metric{Name: "time", Unit: "ns"}, Metric{Name: "rate", Unit: "rec/s", MoreIsBetter: true}
	rows := map[string][]float64{
		"base":  {10, 20, 40},
		"again": {11, 20, 40}, // differs from the base by factors of 1.1, 1 and 1
		"half":  {5, 10, 20},  // gets slower from round to round, as the base does
		"level": {10.4, 20.8, 41.6},
	}
	tests := []struct {
		rule   string
		metric Metric
		claim  Claim
		want   bool
	}{
		{"a ratio is to the base of the same round", time, Claim{Contender: "half", Base: "base", Limit: 0.5}, true},
		{"less than the limit is wanted of times", time, Claim{Contender: "half", Base: "base", Limit: 0.49}, false},
		{"more than the limit is wanted of rates", rate, Claim{Contender: "base", Base: "half", Limit: 2}, true},
		{"less is not enough of rates", rate, Claim{Contender: "base", Base: "half", Limit: 2.1}, false},
		{"without a base the figure counts", time, Claim{Contender: "half", Limit: 10}, true},
		{"a figure above the limit fails", time, Claim{Contender: "half", Limit: 9}, false},
		{"a limit of 1 is strict", time, Claim{Contender: "level", Base: "base", Limit: 1}, false},
		{"the noise of the run widens it", time, Claim{Contender: "level", Base: "base", Limit: 1, Noise: true}, true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			tt.claim.Metric = tt.metric.Name
			v := tt.claim.Check(measured(t, tt.metric, rows, "base", "again", "half", "level"))
			if v.OK != tt.want {
				t.Errorf("ok is %v, want %v: %+v", v.OK, tt.want, v)
			}
		})
	}
}

func TestEveryContenderRunsOnceInEachRound(t *testing.T) {
	var order []string
	add := func(name string) func(context.Context) ([]float64, error) {
		return func(context.Context) ([]float64, error) {
			order = append(order, name)
			return []float64{1}, nil
		}
	}
	b := Benchmark{Metrics: []Metric{{}}, Contenders: []Contender{{Name: "a", Run: add("a")}, {Name: "b", Run: add("b")}, {Name: "c", Run: add("c")}}}
	if _, err := b.Measure(t.Context(), 50, rand.New(rand.NewPCG(1, 2))); err != nil {
		t.Fatal(err)
	}
	first := map[string]int{}
	for round := range 50 {
		names := map[string]bool{}
		for _, name := range order[3*round : 3*round+3] {
			names[name] = true
		}
		if len(names) != 3 {
			t.Errorf("round %d: %v", round, order[3*round:3*round+3])
		}
		first[order[3*round]]++
	}
	if len(first) != 3 {
		t.Errorf("who is first in a round: %v", first)
	}
}

// The test binary runs as a peer if HARNESS_TEST_PEER is set.
func TestMain(m *testing.M) {
	if os.Getenv("HARNESS_TEST_PEER") == "" {
		os.Exit(m.Run())
	}
	Serve(os.Stdin, os.Stdout, map[string]func(*Request) ([]uint64, error){
		"sum": func(r *Request) ([]uint64, error) {
			return []uint64{r.Number(0) + r.Number(1), uint64(len(r.Word(2)))}, r.Err()
		},
		"wait": func(r *Request) ([]uint64, error) {
			r.Ready()
			return nil, errors.New("no event arrived")
		},
	})
}

func TestPeer(t *testing.T) {
	cpus, err := CPUs()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := StartPeer(t.Context(), cpus[:1], self, "HARNESS_TEST_PEER=1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Call("sum", 1, uint64(1<<63), "word")
	if diff := cmp.Diff([]uint64{1<<63 + 1, 4}, got); diff != "" || err != nil {
		t.Errorf("sum (-want +got):\n%s\nerror %v", diff, err)
	}
	for _, bad := range [][]any{{"sum", 1}, {"sum", "one", 2, "word"}, {"unknown"}} {
		if got, err := p.Call(bad...); err == nil {
			t.Errorf("%v is answered with %v, want an error", bad, got)
		}
	}
	if err := p.Begin("wait"); err != nil {
		t.Errorf("begin: %v", err)
	}
	if _, err := p.Answer(); err == nil || err.Error() != "peer failed: no event arrived" {
		t.Errorf("answer: error %v", err)
	}
	if err := p.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := p.Call("sum", 1, 2, ""); err == nil {
		t.Error("an ended peer answers")
	}
}

func TestAContenderThatTheKernelLacksSaysSo(t *testing.T) {
	run := func(context.Context) ([]float64, error) { return []float64{2}, nil }
	b := Benchmark{Name: "b", Title: "t", Metrics: []Metric{{Name: "time", Unit: "ns"}}, Contenders: []Contender{
		{Name: "base", Run: run}, {Name: "base again", Run: run}, {Name: "other", Missing: errors.New("no such thing")},
	}}
	r, err := b.Measure(t.Context(), 3, rand.New(rand.NewPCG(1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := r.WriteTable(&text); err != nil || !strings.Contains(text.String(), "  other: left out: no such thing\n") {
		t.Errorf("%v: %s", err, &text)
	}
}
