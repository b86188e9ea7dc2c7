package consumer

import (
	"runtime"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// ErrBusy means that another opener uses the ring. The error is a [*BusyError].
var ErrBusy = claim.ErrBusy

// BusyError names the process that uses a ring.
type BusyError = claim.BusyError

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
