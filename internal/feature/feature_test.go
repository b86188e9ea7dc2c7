package feature

import (
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

func TestEveryUseIsProbed(t *testing.T) {
	probed := map[string]bool{}
	for _, p := range Trials {
		probed[p.Name] = true
	}
	for name := range uses {
		if !probed[name] {
			t.Errorf("no probe is called %s", name)
		}
	}
	for _, f := range more {
		if probed[f.Name] {
			t.Errorf("%s is probed by vmtest too", f.Name)
		}
	}
}

// What a probe finds must not be an accident of its own trial.
func TestProbes(t *testing.T) {
	testenv.NoLeaks(t)
	found := 0
	for _, f := range All() {
		err := f.Have()
		t.Logf("%s: %v", f.Name, err)
		if err == nil {
			found++
		}
	}
	// Every kernel that rbtool works on has at least ring buffers and what reads them.
	if found < 5 {
		t.Errorf("found %d features", found)
	}
}
