package conform

import (
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// What each rule finds on the running kernel.
func TestRules(t *testing.T) {
	for _, r := range Rules() {
		t.Run(r.ID(), func(t *testing.T) {
			testenv.NoLeaks(t)
			res := test(t.Context(), r, bpf{})
			t.Logf("%s %s %s", res.Verdict, res.Feature, res.Detail)
			if res.Verdict == Differs {
				t.Errorf("differs: %s", res.Detail)
			}
		})
	}
}
