package feature_test

import (
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == feature.Command {
		if err := feature.Unprivileged(os.Args[2:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(testenv.Main(m))
}

func TestNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range feature.All() {
		if seen[f.Name] {
			t.Errorf("two features are called %s", f.Name)
		}
		seen[f.Name] = true
		if found, ok := feature.Find(f.Name); !ok || found.For != f.For {
			t.Errorf("Find(%q): %+v, %v", f.Name, found, ok)
		}
	}
	if _, ok := feature.Find("no such feature"); ok {
		t.Error("an unknown feature is found")
	}
}

// A trial leaves nothing behind, so that a second trial gives the same answer.
func TestTrials(t *testing.T) {
	testenv.NoLeaks(t)
	found := 0
	for _, f := range feature.All() {
		err := f.Have()
		t.Logf("%s: %v", f.Name, err)
		if err == nil && f.For != "" {
			found++
		}
	}
	// Every kernel on which rbtool works has at least these many features.
	if found < 5 {
		t.Errorf("found %d features", found)
	}
}
