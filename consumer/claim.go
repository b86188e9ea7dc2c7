package consumer

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/rbtool/rbtool/internal/owner"
	"github.com/rbtool/rbtool/internal/ring"
)

// ErrBusy says that another process reads the ring and has claimed it. The error
// is a [*BusyError].
var ErrBusy = errors.New("claimed by another process")

// BusyError names the process that has claimed a ring.
type BusyError struct {
	PID uint32 // in the initial pid namespace; 0 when it has given its claim up
}

func (e *BusyError) Error() string {
	if e.PID == 0 {
		return "claimed by another process meanwhile"
	}
	return fmt.Sprintf("claimed by process %d", e.PID)
}

// Is makes the error ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// Claim is what a Reader does about the other consumers of its ring that follow
// the same convention: a word in the consumer page, at offset 64, which the kernel
// does not use, names the process that reads.
type Claim int

const (
	// ClaimNone neither looks at the word nor writes it.
	ClaimNone Claim = iota
	// ClaimExclusive makes NewReader fail with [ErrBusy] while a live process
	// has claimed the ring, and claims it otherwise. A claim ends with Close, or,
	// when a pass was never left (see [Reader.Pass]), once the Reader is garbage,
	// or when its process dies.
	ClaimExclusive
	// ClaimSteal takes the ring from whoever has claimed it. The Reader that had
	// it publishes nothing any more, and its passes fail with [ErrBusy].
	ClaimSteal
)

// claim carries out opts.Claim.
func (r *Reader) claim() error {
	if r.opts.Claim == ClaimNone {
		return nil
	}
	self, err := owner.Self()
	if err != nil {
		return fmt.Errorf("claim: %w", err)
	}
	word := r.mem.ConsumerClaim()
	for {
		holder := owner.ID(word.Load())
		if r.opts.Claim == ClaimExclusive && holder.Alive() {
			return &BusyError{holder.PID()}
		}
		if word.CompareAndSwap(uint64(holder), uint64(self)) {
			r.self = self
			r.claimed = runtime.AddCleanup(r, heldClaim.giveUp, heldClaim{r.mem, self})
			return nil
		}
	}
}

// stolen returns an error when the ring was claimed and is now another's.
func (r *Reader) stolen() error {
	if r.self == 0 {
		return nil
	}
	if holder := owner.ID(r.mem.ConsumerClaim().Load()); holder != r.self {
		return &BusyError{holder.PID()}
	}
	return nil
}

// disclaim gives the claim up, unless it is another's by now.
func (r *Reader) disclaim() {
	if r.self != 0 {
		r.claimed.Stop()
		heldClaim{r.mem, r.self}.giveUp()
	}
}

// heldClaim is a claim of self in mem, which stays mapped as long as this is reachable.
type heldClaim struct {
	mem  *ring.Mapping
	self owner.ID
}

func (c heldClaim) giveUp() { c.mem.ConsumerClaim().CompareAndSwap(uint64(c.self), 0) }
