package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The harness and all its contenders run, read every record, and their
// checksums agree: one round of little work, whose figures mean nothing.
func TestQuickRunVerifiesEveryContender(t *testing.T) {
	peer, err := filepath.Abs("../build/bench-peer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(peer); err != nil {
		t.Skipf("missing feature bench-peer: %v (make builds it)", err)
	}
	bin := filepath.Join(t.TempDir(), "bench")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(bin, "-peer", peer, "-quick", "-o", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(out, &rep); err != nil {
		t.Fatal(err)
	}
	if len(rep.Results) != len(benchmarks) {
		t.Errorf("%d results of %d benchmarks", len(rep.Results), len(benchmarks))
	}
	for _, res := range rep.Results {
		for _, row := range res.Rows {
			if len(row.Figures) != len(res.Metrics) {
				t.Errorf("%s: no figure for %s", res.Name, row.Contender)
			}
		}
	}
}
