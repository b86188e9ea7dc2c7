package ring

import (
	"errors"
	"fmt"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// explainReader adds to the error of a ring that could not be opened for reading the process that
// consumes it, and a hint.
func explainReader(err error) error {
	switch {
	case errors.Is(err, consumer.ErrBusy):
		return explainBusy(err, consumedBy)
	case errors.Is(err, consumer.ErrCorrupt):
		return command.WithHint(err, "--recover, without --observe, resumes at the oldest intact record")
	}
	return err
}

// explainBusy explains the error of a ring that another process has claimed. If that process is
// visible, it returns usedBy(process).
func explainBusy(err error, usedBy func(process string) error) error {
	busy, ok := errors.AsType[*consumer.BusyError](err)
	switch {
	case !ok || busy.Stolen:
		return err
	case busy.Unseen:
		return unseenHolder(err)
	}
	return usedBy(command.DescribePID(busy.PID))
}

// unseenHolder adds a hint to the error of a claimed ring whose claim may be left over from a process
// that has ended.
func unseenHolder(err error) error {
	return command.WithHint(command.WithStatus(err, command.StatusBusy),
		"with CAP_BPF and CAP_PERFMON rbtool sees whether that process is alive; --steal takes the ring from that process")
}

// consumedError returns an error if another process consumes a ring.
func consumedError(r inspect.Rivalry) error {
	switch {
	case r.Unknown != nil:
		err := command.WithStatus(fmt.Errorf("another process may consume the ring: %w", r.Unknown), command.StatusBusy)
		return command.WithHint(err, "with CAP_BPF and CAP_PERFMON rbtool sees every process; "+consumeHint)
	case r.User != nil:
		return consumedBy(command.DescribeProcess(r.User.PID, r.User.Comm))
	}
	return nil
}

// consumeHint is the hint for a ring that another process consumes.
const consumeHint = "--observe watches without consuming; --steal consumes anyway, so that each gets some of the records"

func consumedBy(process string) error {
	return command.WithHint(command.WithStatus(fmt.Errorf("consumed by %s", process), command.StatusBusy), consumeHint)
}
