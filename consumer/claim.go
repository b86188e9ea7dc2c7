package consumer

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// ErrBusy says that another opener has claimed the ring. The error is a [*BusyError].
var ErrBusy = errors.New("claimed by another process")

// BusyError names the process that has claimed a ring.
type BusyError struct {
	PID uint32 // in the initial pid namespace; 0 if it has released its claim
	// Stolen says that this Reader had claimed the ring until that process took it.
	Stolen bool
	// Unseen says that the process cannot be seen from here, and may have ended.
	Unseen bool
}

func (e *BusyError) Error() string {
	switch {
	case e.PID == 0:
		return "ring was taken by another process"
	case e.Stolen:
		return fmt.Sprintf("ring was taken by process %d", e.PID)
	case e.Unseen:
		return fmt.Sprintf("claimed by process %d, which cannot be seen from here and may have ended", e.PID)
	}
	return fmt.Sprintf("claimed by process %d", e.PID)
}

// Is makes the error ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// Claim says how a Reader treats other consumers of its ring that follow the same
// convention: a word in the consumer page, at offset 64, which the kernel ignores,
// names the opener that reads.
type Claim int

const (
	// ClaimNone neither looks at the word nor writes it.
	ClaimNone Claim = iota
	// ClaimExclusive makes NewReader fail with [ErrBusy] while another Reader, of a
	// live process, has claimed the ring, and claims it otherwise. A claim ends with
	// Close, when its process ends or calls execve(2), and, if a pass was never left
	// (see [Reader.Pass]), when the Reader is collected.
	ClaimExclusive
	// ClaimSteal claims the ring from any holder. The robbed Reader publishes nothing
	// more, and its passes fail with [ErrBusy]. Records of the pass in which that
	// happens may be overwritten while the loop body reads them: use results only in
	// [Options].BeforePublish, or after a pass that ended without an error.
	//
	// The new holder reads copies until it has published, and from an unclaimed ring
	// always: a consumer that follows no convention, such as libbpf's, may read that
	// one, and each then gets a part of the records.
	ClaimSteal
)

// claim carries out opts.Claim.
func (r *Reader) claim() error {
	if r.opts.Claim == ClaimNone {
		return nil
	}
	steal := r.opts.Claim == ClaimSteal
	most := claim.Gone
	if steal {
		most = claim.Alive
	}
	self, previous, err := claim.Take(r.mem.ConsumerClaim(), most)
	if held, ok := errors.AsType[*claim.HeldError](err); ok {
		return &BusyError{PID: held.PID, Unseen: held.State == claim.Unknown}
	}
	if errors.Is(err, claim.ErrUnsteady) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err != nil {
		return err
	}
	switch {
	case previous != 0:
		r.rivals = robbed
	case steal:
		r.rivals = foreign
	}
	r.self = self
	r.claimed = runtime.AddCleanup(r, heldClaim.giveUp, heldClaim{r.mem, self})
	return nil
}

// stolen returns an error if this Reader claimed the ring and another opener has it now.
func (r *Reader) stolen() error {
	if r.holds() {
		return nil
	}
	return &BusyError{PID: claim.ID(r.mem.ConsumerClaim().Load()).PID(), Stolen: true}
}

// holds reports whether the ring is still this Reader's, which it always is without a claim.
func (r *Reader) holds() bool {
	return r.self == 0 || claim.ID(r.mem.ConsumerClaim().Load()) == r.self
}

// disclaim releases the claim, unless another opener has taken it.
func (r *Reader) disclaim() {
	if r.self != 0 {
		r.claimed.Stop()
		heldClaim{r.mem, r.self}.giveUp()
	}
}

// heldClaim is a claim of self in mem, which stays mapped while this is reachable.
type heldClaim struct {
	mem  *ring.Mapping
	self claim.ID
}

func (c heldClaim) giveUp() { c.self.Release(c.mem.ConsumerClaim()) }
