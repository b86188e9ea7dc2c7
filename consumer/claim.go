package consumer

import (
	"errors"
	"runtime"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
)

// ErrBusy means that another opener has claimed the ring: another process, or another Reader or
// Group of this process. The error wraps a [*BusyError].
var ErrBusy = claim.ErrBusy

// BusyError names the process that has claimed a ring; it matches [ErrBusy]. Its fields are:
//
//	PID    uint32 // pid of that process
//	Stolen bool   // this Reader held the claim until that process took it
//	Unseen bool   // this process cannot see that process, which may have ended
//
// PID is the pid in the initial pid namespace or, if that is unknown, in the pid namespace of that
// process. It is 0 if the ring was released meanwhile. If Unseen is set, [Options].Steal takes the
// ring.
type BusyError = claim.BusyError

// claim claims the ring according to r.opts. A shared Reader claims nothing.
func (r *Reader) claim() error {
	if r.opts.Shared && r.opts.Steal {
		return errors.New("options Shared and Steal exclude each other")
	}
	if r.opts.Shared {
		r.rivals = foreign
		return nil
	}
	most := claim.Gone
	if r.opts.Steal {
		most = claim.Alive
	}
	self, previous, err := claim.Take(r.mem.ConsumerClaim(), most)
	if err != nil {
		return err
	}
	switch {
	case previous != 0:
		r.rivals = robbed
	case r.opts.Steal:
		r.rivals = foreign
	}
	r.self = self
	r.claimed = runtime.AddCleanup(r, heldClaim.giveUp, heldClaim{r.mem, self})
	return nil
}

// adopt moves a shared Reader to the position that another consumer has published, unless this
// Reader has read further.
func (r *Reader) adopt() {
	if !r.contested() {
		return
	}
	r.published = r.mem.ConsumerPos()
	if r.pos.Before(r.published) {
		r.lastSpan = 0
		r.setPos(r.published)
	}
}

// share publishes the records of a shared Reader as soon as it has read all. Otherwise another
// consumer that waits for a record would wake up and read the same records. It also publishes after
// a record longer than an eighth of the ring. With BeforePublish it publishes nothing, because the
// caller does not have the record yet.
func (r *Reader) share() {
	if r.opts.Shared && r.opts.BeforePublish == nil &&
		(r.pos == r.seen || uint64(r.pos-r.published) > r.mem.Size()/8) {
		r.publish(0) // if it fails, the next publication reports why
	}
}

// direct reports whether one record can be copied from the ring itself: either this Reader is the
// only consumer, or contested, called after the copy, detects that another consumer has moved on.
func (r *Reader) direct() bool { return !r.copies() || r.opts.Shared && !r.over }

// contested reports whether another consumer has moved consumer_pos since this shared Reader last
// loaded or stored it. The producer may then have overwritten the records that this Reader is
// reading. Partner: the smp_load_acquire of consumer_pos in __bpf_ringbuf_reserve (litmus
// copy-consumed). The caller calls order.LoadBarrier after it has read the records.
func (r *Reader) contested() bool { return r.opts.Shared && r.mem.ConsumerPos() != r.published }

// excuse clears r.err if another consumer has moved consumer_pos under a shared Reader: the record
// only looks corrupt because it was overwritten.
func (r *Reader) excuse() {
	if r.contested() {
		r.err = nil
	}
}

// stolen returns an error if this Reader claimed the ring and another opener has it now.
func (r *Reader) stolen() error {
	if r.holds() {
		return nil
	}
	return &BusyError{PID: claim.ID(r.mem.ConsumerClaim().Load()).PID(), Stolen: true}
}

// holds reports whether the ring still contains the claim of this Reader. It is always true for a
// Reader without a claim.
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

// heldClaim is the claim of self in mem. It refers to mem, which stays mapped while the heldClaim
// is reachable.
type heldClaim struct {
	mem  *ring.Mapping
	self claim.ID
}

func (c heldClaim) giveUp() { c.self.Release(c.mem.ConsumerClaim()) }
