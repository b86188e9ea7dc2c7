package ring

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/userring"
	"github.com/rbtool/rbtool/userprod"
)

// userRing is the user ring buffer to produce into, with the flags that override refusals.
type userRing struct {
	user    string
	recover bool
	steal   bool
	unseen  bool
}

// overrideFlags adds the flags that override refusals.
func (u *userRing) overrideFlags(f *pflag.FlagSet) {
	f.BoolVar(&u.recover, "recover", false, "repair a corrupt ring: discard everything after the last valid sample")
	f.BoolVar(&u.steal, "steal", false, "take the ring from a process that may have ended or that does not have it mapped")
	f.BoolVar(&u.unseen, "ignore-unseen", false, "produce even if processes that cannot be seen may produce into the ring")
}

// openProducer opens a user ring buffer for producing, and prints what it repaired.
func openProducer(stderr io.Writer, ring userRing) (*userprod.Producer, error) {
	m, err := inspect.Lookup(ring.user, ebpf.UserRingbuf)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if ring.steal {
		if err := releaseForged(m); err != nil {
			return nil, err
		}
	}
	var refused error
	p, err := userprod.New(m, userprod.Options{
		Mend: ring.recover, Steal: ring.steal,
		Claimed: func() error {
			refused = refuseProduced(m, ring.unseen)
			return refused
		},
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, explainProducer(err)
	}
	found, err := p.Stats()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if found.Abandoned > 0 {
		command.Note(stderr, "discarded %d samples that a dead producer left half-written", found.Abandoned)
	}
	if found.Mended != nil {
		command.Note(stderr, "the ring was repaired: %v", found.Mended)
	}
	return p, nil
}

// refuseProduced returns an error if another process produces into the ring without a claim.
func refuseProduced(m *ebpf.Map, ignoreUnseen bool) error {
	rival, err := inspect.Rival(m)
	switch {
	case errors.Is(err, inspect.ErrUnseen) && ignoreUnseen:
		return nil
	case errors.Is(err, inspect.ErrUnseen):
		err = command.WithStatus(fmt.Errorf("another process may produce into the ring: %w", err), command.StatusBusy)
		return command.WithHint(err, "with CAP_BPF and CAP_PERFMON rbtool sees every process; --ignore-unseen produces anyway")
	case err != nil:
		return fmt.Errorf("find the ring's producer: %w", err)
	case rival != nil:
		return producedBy(command.DescribeProcess(rival.PID, rival.Comm), "stop that process; a ring has one producer")
	}
	return nil
}

func producedBy(process, hint string) error {
	return command.WithHint(command.WithStatus(fmt.Errorf("produced into by %s", process), command.StatusBusy), "%s", hint)
}

// releaseForged releases the claim of a ring that no process has mapped for producing. A producer maps
// the ring before it claims it. If there is no mapping, the claim is forged or its holder has ended.
func releaseForged(m *ebpf.Map) error {
	d, err := userring.Diagnose(m)
	if err != nil || d.Holder.State() == claim.Gone {
		return err
	}
	info, err := m.Info()
	if err != nil {
		return err
	}
	id, _ := info.ID()
	usage, err := inspect.Users(m)
	if err != nil {
		return fmt.Errorf("find the ring's producer: %w", err)
	}
	produces := func(u inspect.User) bool { return u.Produces }
	if unseen, err := usage.Unseen(id); err != nil || unseen > 0 || slices.ContainsFunc(usage.Users[id], produces) {
		return nil // a process has mapped the ring: the claim decides
	}
	return userring.Release(m, d.Holder)
}

// explainProducer adds to the error of a ring that could not be opened for producing the process that
// produces into it, and a hint.
func explainProducer(err error) error {
	switch {
	case errors.Is(err, userprod.ErrBusy):
		return explainBusy(err, func(process string) error {
			return producedBy(process, "stop that process; a ring has one producer; --steal takes the ring if no process has it mapped")
		})
	case errors.Is(err, userprod.ErrCorrupt):
		return command.WithHint(err, "--recover discards everything after the last valid sample")
	}
	return err
}
