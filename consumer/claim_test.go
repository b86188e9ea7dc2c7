package consumer

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/bpf/producer"
	"github.com/rbtool/rbtool/internal/owner"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// claimAs writes a claim into m's consumer page, as a process other than this one
// would.
func claimAs(t *testing.T, m *ebpf.Map, id owner.ID) {
	t.Helper()
	mem, err := ring.Consume(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		t.Fatal(err)
	}
	mem.ConsumerClaim().Store(uint64(id))
	if mem.Close() {
		mem.Unmap()
	}
}

// otherProcess returns the ID of a process and a function that ends it.
func otherProcess(t *testing.T) (owner.ID, func()) {
	t.Helper()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { stdin.Close(); cmd.Wait() }
	t.Cleanup(end)
	id, err := owner.Of(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return id, end
}

func submitThree(t *testing.T, m *ebpf.Map) {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(t.Context(), producer.Job{Count: 3, Size: 8}); err != nil {
		t.Fatal(err)
	}
}

func TestAClaimExcludesOthersUntilItsHolderEnds(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 4096)
	id, end := otherProcess(t)
	claimAs(t, m, id)

	_, err := NewReader(m, Options{Claim: ClaimExclusive})
	busy, ok := errors.AsType[*BusyError](err)
	if !ok || busy.PID != id.PID() || !errors.Is(err, ErrBusy) {
		t.Fatalf("claimed by %d: got error %v", id.PID(), err)
	}
	end()
	r, err := NewReader(m, Options{Claim: ClaimExclusive})
	if err != nil {
		t.Fatalf("after the holder's end: %v", err)
	}
	r.Close()
}

func TestAClaimEndsWithClose(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 4096)
	for range 2 {
		r, err := NewReader(m, Options{Claim: ClaimExclusive})
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewReader(m, Options{Claim: ClaimExclusive})
		if busy, ok := errors.AsType[*BusyError](err); !ok || int(busy.PID) != os.Getpid() {
			t.Errorf("second claim in one process: %v", err)
		}
		r.Close()
	}
}

func TestAStolenRingIsNotPublishedTo(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 4096)
	submitThree(t, m)
	r, err := NewReader(m, Options{Claim: ClaimExclusive})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := otherProcess(t)
	claimAs(t, m, id)
	for range r.Pass(0) {
	}
	if err := r.Err(); !errors.Is(err, ErrBusy) {
		t.Errorf("pass over a stolen ring: error %v", err)
	}
	if s, err := r.Stats(); err != nil || s.ConsumerPos != 0 {
		t.Errorf("a stolen ring was published to: %+v, %v", s, err)
	}
	r.Close()
	thief, err := NewReader(m, Options{Claim: ClaimSteal})
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	n := 0
	for range thief.Pass(0) {
		n++
	}
	if n != 3 || thief.Err() != nil {
		t.Errorf("the thief read %d of 3 records: %v", n, thief.Err())
	}
}
