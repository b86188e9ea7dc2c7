package consumer_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// act is what a process started by testenv.Start does in a role.
func act(role string, m *ebpf.Map) error {
	switch role {
	case "claim":
		r, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			return err
		}
		defer r.Close()
	case "exec":
		if _, err := consumer.NewReader(m, consumer.Options{}); err != nil {
			return err
		}
		return testenv.Exec("claim", m)
	case "confined":
		return openConfined(m)
	default:
		return fmt.Errorf("unknown role %q", role)
	}
	return testenv.Ready()
}

// openConfined opens m in each way that must use only the descriptor and the pages of the map.
func openConfined(m *ebpf.Map) error {
	if err := testenv.Confine(); err != nil {
		fmt.Println(err)
		return testenv.Ready()
	}
	for _, opts := range []consumer.Options{{}, {Steal: true}, {Shared: true}, {Mend: true}} {
		r, err := consumer.NewReader(m, opts)
		if err != nil {
			return err
		}
		if _, err := r.TryRead(); !errors.Is(err, consumer.ErrEmpty) {
			return err
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	o, err := consumer.NewObserver(m, consumer.ObserverOptions{})
	if err != nil {
		return err
	}
	if err := o.Close(); err != nil {
		return err
	}
	return testenv.Ready()
}

// Opening a ring loads no BPF program, and opens or examines no file. seccomp kills a process that
// tries.
func TestOpeningTouchesNothingElse(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p := testenv.Start(t, "confined", m)
	switch line := p.Line(t); line {
	case testenv.ErrNoSeccomp.Error():
		testenv.SkipWithout(t, "seccomp", testenv.ErrNoSeccomp)
	case "ready":
	default:
		t.Errorf("the confined process says %q", line)
	}
}
