package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// onUserRing maps m as a producer does and calls do with the mapping.
func onUserRing(t *testing.T, m *ebpf.Map, do func(mem *ring.Mapping)) {
	t.Helper()
	mem, err := ring.Produce(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		t.Fatal(err)
	}
	do(mem)
	if err := mem.Unmap(); err != nil {
		t.Error(err)
	}
}

// Any process with access to the ring can write a claim that names another process as holder. The claim
// is void unless a process has the ring mapped for producing.
func TestStealTakesTheRingFromAVoidClaim(t *testing.T) {
	m, path := pinnedUserRing(t, testenv.PageSize)
	others, othersPath := pinnedUserRing(t, testenv.PageSize)
	holder := rbtool(t, "produce", "--user", othersPath)
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		stdin.Close()
		if err := holder.Wait(); err != nil {
			t.Error(err)
		}
	}()
	for claimed := false; !claimed; command.Pause(t.Context(), lookAgain) {
		if claimed, err = isClaimed(others); err != nil || t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
	forge := func() {
		var word uint64
		onUserRing(t, others, func(mem *ring.Mapping) { word = mem.ProducerClaim().Load() })
		onUserRing(t, m, func(mem *ring.Mapping) { mem.ProducerClaim().Store(word) })
	}
	produce := func(rule string, want int, args ...string) {
		t.Helper()
		cmd := rbtool(t, append([]string{"produce", "--user", path}, args...)...)
		cmd.Stdin = strings.NewReader("one\n")
		var said bytes.Buffer
		cmd.Stderr = &said
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: status %d, want %d: %s", rule, got, want, &said)
		}
	}
	forge()
	produce("the claim of a process that has another ring", command.StatusBusy)
	produce("the same, with --steal", command.StatusDone, "--steal")
	onUserRing(t, m, func(*ring.Mapping) {
		forge()
		produce("a forged claim, and a process with the ring mapped", command.StatusBusy, "--steal")
	})
}
