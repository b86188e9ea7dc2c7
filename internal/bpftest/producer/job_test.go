package producer

import (
	"strings"
	"testing"
)

func TestLenStaysInBounds(t *testing.T) {
	for _, job := range []Job{{Size: 5}, {Size: 5, MaxSize: 5}, {Size: 5, MaxSize: 3}, {MaxSize: 1}, {Size: 16, MaxSize: 128}, {MaxSize: MaxRecord}} {
		shortest, longest := job.Len(0), job.Len(0)
		for seq := range uint64(100_000) {
			shortest, longest = min(shortest, job.Len(seq)), max(longest, job.Len(seq))
		}
		wantLongest := max(job.Size, job.MaxSize)
		if wantLongest-job.Size <= 1000 && (shortest != job.Size || longest != wantLongest) {
			t.Errorf("%d to %d: lengths from %d to %d", job.Size, job.MaxSize, shortest, longest)
		}
		if shortest < job.Size || longest > wantLongest {
			t.Errorf("%d to %d: lengths from %d to %d", job.Size, job.MaxSize, shortest, longest)
		}
	}
}

func TestEveryNthIsDiscarded(t *testing.T) {
	job := Job{DiscardEvery: 3}
	for seq, want := range []bool{false, false, true, false, false, true} {
		if got := job.Discarded(uint64(seq)); got != want {
			t.Errorf("record %d: discarded %v, want %v", seq, got, want)
		}
	}
	if (Job{}).Discarded(0) {
		t.Error("discarded although DiscardEvery is 0")
	}
}

func TestImpossibleJobs(t *testing.T) {
	tests := map[string]struct {
		job  Job
		want string // part of the error; empty: no error
	}{
		"zero value":             {Job{}, ""},
		"largest":                {Job{Op: Output, MaxSize: MaxRecord}, ""},
		"op below":               {Job{Op: -1}, "unknown op"},
		"op above":               {Job{Op: Dynptr + 1}, "unknown op"},
		"size":                   {Job{Size: MaxRecord + 1}, "exceeds 65536"},
		"max size":               {Job{Op: Output, MaxSize: MaxRecord + 1}, "exceeds 65536"},
		"random reserve":         {Job{Size: 1, MaxSize: 2}, "constant size"},
		"discarded output":       {Job{Op: Output, DiscardEvery: 2}, "always submits"},
		"wakeup":                 {Job{Wakeup: 4}, "unknown wakeup"},
		"last wakeup":            {Job{LastWakeup: 8}, "unknown wakeup"},
		"retry what fits":        {Job{Size: 4080, RetryFull: true}, ""},
		"retry what never fits":  {Job{Size: 4081, RetryFull: true}, "never fits"},
		"fail for what does not": {Job{Size: 4081}, ""},
	}
	for name, test := range tests {
		err := test.job.check(4096)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want an error with %q", name, err, test.want)
		}
	}
}
