package ring

import (
	"fmt"
	"testing"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/userprod"
)

func TestARingOfAnotherProcessIsBusy(t *testing.T) {
	for _, err := range []error{
		&consumer.BusyError{PID: 7}, &consumer.BusyError{Stolen: true}, &consumer.BusyError{PID: 7, Unseen: true},
		&userprod.BusyError{PID: 7}, &userprod.BusyError{Stolen: true}, &userprod.BusyError{PID: 7, Unseen: true},
	} {
		for _, explain := range []func(error) error{explainReader, explainProducer} {
			if status := command.StatusOf(fmt.Errorf("tail x: %w", explain(err))); status != command.StatusBusy {
				t.Errorf("%v: status %d", err, status)
			}
		}
	}
}
