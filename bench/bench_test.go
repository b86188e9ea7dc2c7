package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// asCommand is an environment variable. If it is set, the test binary runs main instead of the
// tests: the test can run the command on machines without a Go toolchain.
const asCommand = "RBTOOL_BENCH_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Runs one round of every benchmark with little work: each contender must read every record and
// report the right checksum. The figures are not checked.
// The figures are for quiet hosts: a guest takes a minute for them.
func TestQuickRunVerifiesEveryContender(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	testenv.SkipIfNotSupported(t, "bpf-syscall-program", features.HaveProgramType(ebpf.Syscall))
	peer, err := filepath.Abs("../build/bench-peer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(peer); err != nil {
		t.Skipf("missing feature bench-peer: %v (make builds it)", err)
	}
	if err := exec.Command(peer).Run(); errors.Is(err, unix.ENOEXEC) {
		testenv.SkipWithout(t, "gcc", fmt.Errorf("%s is of another architecture: %w", peer, err))
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-peer", peer, "-quick", "-o", "json")
	cmd.Env = append(os.Environ(), asCommand+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(out, &rep); err != nil {
		t.Fatal(err)
	}
	t.Logf("left out: %q", rep.Skipped)
	if len(rep.Results)+len(rep.Skipped) != len(benchmarks) {
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
