package ring

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// explainReader names the other consumer in the error of a refused ring, and adds a hint.
func explainReader(err error) error {
	switch {
	case errors.Is(err, consumer.ErrBusy):
		return explainBusy(err, consumedBy)
	case errors.Is(err, consumer.ErrCorrupt):
		return command.WithHint(err, "--recover, without --observe, resumes at the oldest intact record")
	}
	return err
}

// explainBusy explains the error of a claimed ring. usedBy returns the error for a known holder.
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

// unseenHolder adds a hint to the error of a ring whose holder may have ended.
func unseenHolder(err error) error {
	return command.WithHint(command.WithStatus(err, command.StatusBusy),
		"with CAP_BPF and CAP_PERFMON rbtool can tell whether it lives; --steal takes the ring from that process")
}

// refuseConsumed returns an error if another process consumes the ring.
func refuseConsumed(m *ebpf.Map) error {
	rival, err := inspect.Rival(m)
	switch {
	case errors.Is(err, inspect.ErrUnseen):
		err = command.WithStatus(fmt.Errorf("another process may consume it: %w", err), command.StatusBusy)
		return command.WithHint(err, "with CAP_BPF and CAP_PERFMON rbtool can tell; "+consumeHint)
	case err != nil:
		return fmt.Errorf("find its consumer: %w", err)
	case rival != nil:
		return consumedBy(command.DescribeProcess(rival.PID, rival.Comm))
	}
	return nil
}

// consumeHint is the hint for a ring that another process consumes.
const consumeHint = "--observe watches without consuming; --steal consumes anyway, so that each gets some of the records"

func consumedBy(process string) error {
	return command.WithHint(command.WithStatus(fmt.Errorf("consumed by %s", process), command.StatusBusy), consumeHint)
}
