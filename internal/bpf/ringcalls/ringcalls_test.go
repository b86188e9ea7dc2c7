package ringcalls_test

import (
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

var features = map[ringcalls.Engine]string{ringcalls.Fexit: "drops-fexit", ringcalls.Breakpoint: "drops-breakpoint"}

func TestTheTrialLeavesNoTrace(t *testing.T) {
	for engine, feature := range features {
		t.Run(feature, func(t *testing.T) {
			c, err := ringcalls.Open(engine, ringcalls.Config{})
			if err != nil {
				testenv.SkipWithout(t, feature, err)
			}
			defer c.Close()
			s, err := c.Read()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%v a call; limits %q", c.Cost(), c.Limits())
			if len(s.Rings)+len(s.CPUs)+len(s.Callers)+len(s.Seconds)+len(s.Names) > 0 || s.Hits+s.Missed+s.Unattributed > 0 {
				t.Errorf("after the trial: %+v", s)
			}
		})
	}
}
