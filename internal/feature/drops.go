package feature

import (
	"errors"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
)

// drops returns a trial that counts calls with the first engine that works.
func drops(engines ...ringcalls.Engine) func() error {
	return func() error {
		var errs []error
		for _, e := range engines {
			c, err := ringcalls.Open(e, ringcalls.Config{})
			if err == nil {
				return c.Close()
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}
