package claim

import (
	"errors"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	"github.com/rbtool/rbtool/internal/ring"
)

// take claims word and releases the claim when the test ends.
func take(t *testing.T, word *atomic.Uint64, most State) ID {
	t.Helper()
	id, _, err := Take(word, most)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { id.Release(word) })
	return id
}

func TestIDFields(t *testing.T) {
	for _, p := range []process{{1, 1, 0}, {1<<22 - 1, startMask, 1<<nsBits - 1}, {4711, 0, 0}, {1, 0, 1}} {
		for _, nonce := range []uint32{0, 1, 1<<nonceBits - 1} {
			id := newID(p, nonce)
			if id.PID() != p.pid || id.process() != p || uint32(id)&(1<<nonceBits-1) != nonce {
				t.Errorf("%+v, nonce %d: id %#x: %+v", p, nonce, uint64(id), id.process())
			}
		}
	}
}

func TestOpenersOfOneProcessExcludeEachOther(t *testing.T) {
	var word atomic.Uint64
	first := take(t, &word, Gone)
	_, _, err := Take(&word, Gone)
	if busy, ok := errors.AsType[*BusyError](err); !ok || int(busy.PID) != os.Getpid() || busy.Unseen || !errors.Is(err, ErrBusy) {
		t.Fatalf("second claim: %v", err)
	}
	first.Release(&word)
	if word.Load() != 0 {
		t.Fatalf("the word is %#x after the release", word.Load())
	}
	take(t, &word, Gone)
}

func TestARobbedOpenerLeavesTheThiefsClaim(t *testing.T) {
	var word atomic.Uint64
	robbed := take(t, &word, Gone)
	thief := take(t, &word, Alive)
	if thief == robbed {
		t.Fatal("two openers have one ID")
	}
	robbed.Release(&word)
	if ID(word.Load()) != thief {
		t.Errorf("the word is %#x, the thief's claim %#x", word.Load(), uint64(thief))
	}
	if _, _, err := Take(&word, Gone); err == nil {
		t.Error("the thief's claim counts as gone")
	}
}

func TestAHolderThatLivesLosesItsClaimToAThiefOfAnyOnly(t *testing.T) {
	skipOutsideInitial(t)
	holder := start(t, exec.Command("cat")).id(t)
	checkTake(t, holder, Gone, false)
	checkTake(t, holder, Unknown, false)
	checkTake(t, holder, Alive, true)
}

// checkTake tries to claim a ring that holder has claimed, and checks whether that succeeds.
func checkTake(t *testing.T, holder ID, most State, taken bool) {
	t.Helper()
	var word atomic.Uint64
	word.Store(uint64(holder))
	self, previous, err := Take(&word, most)
	if !taken {
		if busy, ok := errors.AsType[*BusyError](err); !ok || busy.Unseen && most >= Unknown {
			t.Errorf("a claim up to state %d: %v", most, err)
		}
		return
	}
	if err != nil || previous != holder {
		t.Fatalf("a claim up to state %d: previous %#x, %v", most, uint64(previous), err)
	}
	self.Release(&word)
}

// A claim of an earlier program of this process is Gone: execve(2) changes neither pid nor start
// time.
func TestAClaimOfAnEarlierImageIsGone(t *testing.T) {
	var word atomic.Uint64
	word.Store(uint64(take(t, new(atomic.Uint64), Gone) ^ 1<<(nonceBits-1))) // another nonce
	_, previous, err := Take(&word, Gone)
	if err != nil || previous == 0 {
		t.Errorf("previous %#x: %v", uint64(previous), err)
	}
}

func TestAWordThatNamesNoProcessIsGone(t *testing.T) {
	self := take(t, new(atomic.Uint64), Gone)
	for name, id := range map[string]ID{
		"zero":                        0,
		"no pid":                      newID(process{0, 7, 0}, 7),
		"a pid beyond the kernel's":   ^ID(0),
		"an earlier process of a pid": newID(process{1, 1<<17 + 1, 0}, 7),
		"this process, not open":      self ^ 1<<(nonceBits-1),
	} {
		if state := id.State(); state != Gone {
			t.Errorf("%s: state %d", name, state)
		}
	}
	if self.State() != Alive {
		t.Error("an open claim of this process is not alive")
	}
}

func TestAWordThatKeepsChangingEndsTheClaim(t *testing.T) {
	for _, most := range []State{Gone, Unknown, Alive} {
		_, err := swap(most, func() ID { return 0 }, func(ID) bool { return false })
		if !errors.Is(err, ring.ErrCorrupt) {
			t.Errorf("most %d: %v", most, err)
		}
	}
}

// After execve(2) the nonces begin anywhere, so that the next may be that of a claim which the earlier
// process image has left.
func TestTakeAfterExecWithTheSameNonce(t *testing.T) {
	var word atomic.Uint64
	openers.Lock()
	left := newID(self, openers.nonce+1)
	openers.Unlock()
	word.Store(uint64(left))
	id, previous, err := Take(&word, Unknown)
	if err != nil || previous != left || id == left {
		t.Fatalf("Take() = %#x, %#x, %v", id, previous, err)
	}
	id.Release(&word)
}
