package infer

import (
	"testing"
	"time"
)

func TestPatience(t *testing.T) {
	for rule, test := range map[string]struct {
		waits time.Duration // for a CPU, in each interval
		looks int
	}{
		"on an idle machine":      {0, 2},
		"on a busy machine":       {time.Hour, maxPatience + 1},
		"on one that is not busy": {time.Nanosecond, 2},
	} {
		var waited time.Duration
		looks := 0
		ctx, cancel := patience(time.Millisecond, func() time.Duration {
			looks++
			waited += test.waits
			return waited
		})
		<-ctx.Done()
		cancel()
		if looks != test.looks {
			t.Errorf("%s: it ends after %d looks, want %d", rule, looks, test.looks)
		}
	}
}

func TestPatienceThatIsCancelled(t *testing.T) {
	ctx, cancel := patience(time.Hour, waitedForCPU)
	if ctx.Err() != nil {
		t.Error("it is over at once")
	}
	cancel()
	<-ctx.Done()
}

func TestWaitedForCPU(t *testing.T) {
	first := waitedForCPU()
	if again := waitedForCPU(); first < 0 || again < 0 {
		t.Errorf("waited %v, then %v", first, again)
	}
}
