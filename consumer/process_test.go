package consumer_test

import (
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// act does what a process started by testenv.Start in a role does.
func act(role string, m *ebpf.Map) error {
	switch role {
	case "claim":
		r, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			return err
		}
		defer r.Close()
	case "exec": // as a program that runs another one
		if _, err := consumer.NewReader(m, consumer.Options{}); err != nil {
			return err
		}
		return testenv.Exec("claim", m)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
	return testenv.Ready()
}
