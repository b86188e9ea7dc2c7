package ring

import (
	"errors"
	"io"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// explainReader adds a hint to the error of a ring that cannot be read.
func explainReader(err error) error {
	busy, ok := errors.AsType[*consumer.BusyError](err)
	switch {
	case ok && busy.Stolen:
		return err
	case ok && busy.Unseen:
		return unseenHolder(err)
	case ok:
		return consumedBy(command.DescribePID(busy.PID))
	case errors.Is(err, consumer.ErrCorrupt):
		return command.WithHint(err, "--recover, without --observe, resumes at the oldest intact record")
	}
	return err
}

// unseenHolder adds a hint to the error of a ring whose holder may have ended.
func unseenHolder(err error) error {
	return command.WithHint(command.WithStatus(err, command.StatusBusy),
		"with CAP_BPF and CAP_PERFMON rbtool can tell whether it lives; --steal takes the ring from that process")
}

// sayMended notes the fault of a ring that --recover mended.
func sayMended(w io.Writer, src feed) {
	c, ok := src.(consuming)
	if !ok {
		return
	}
	if found := c.Recovered(); found.Mended != nil {
		command.Note(w, "the ring was mended: %v", found.Mended)
		command.Note(w, "reading resumes at position %d; %d bytes before it are overwritten", found.Resumed, found.Lost)
	}
}
