package stream

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/bpf/tracering"
	"github.com/rbtool/rbtool/internal/sametype"
)

// tracerTypes returns the types of the records in a ring of proctrace, from the BTF of its programs, which can be of another
// version: one of the types must be as in this one. Its errors are those of package tracering.
func tracerTypes(m *ebpf.Map) (*decode.Set, error) {
	types, err := tracering.Types(m)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(types, isTracers) {
		return nil, tracering.ErrNotTraced
	}
	return decode.NewSet(types...)
}

// isTracers reports whether proctrace has the type in this version.
func isTracers(t btf.Type) bool {
	own, err := proctrace.StructType(t.TypeName())
	return err == nil && sametype.Same(own, t)
}

// stoppedTypes returns the types of the records of proctrace in this version of rbtool, if the ring has pending records and
// they have these types, otherwise [tracering.ErrNotTraced]. The name of a tracer's ring is a common one.
func stoppedTypes(m *ebpf.Map) (*decode.Set, error) {
	types, err := structTypes("fork_event", "exec_event", "exit_event", "ack_event")
	if err != nil {
		return nil, err
	}
	o, err := consumer.NewObserver(m, consumer.ObserverOptions{})
	if err != nil {
		return nil, err
	}
	defer o.Close()
	const (
		most        = 16
		longestName = 256 // of an exec_event
	)
	seen := 0
	for r := range o.Pass(most) {
		c, err := types.Codec(r.Data)
		if err != nil || len(r.Data) < c.Size() || len(r.Data) > c.Size()+longestName {
			return nil, tracering.ErrNotTraced
		}
		seen++
	}
	if seen == 0 {
		return nil, tracering.ErrNotTraced
	}
	return types, nil
}

// ProcessTable is the name of the map in which proctrace keeps its table of processes.
const ProcessTable = "processes"

// ProcessDecoder returns the decoder for the values of that map.
func ProcessDecoder() (*decode.Codec, error) {
	set, err := structTypes("process_entry")
	if err != nil {
		return nil, err
	}
	return set.Codecs()[0], nil
}

func structTypes(names ...string) (*decode.Set, error) {
	var types []btf.Type
	for _, name := range names {
		typ, err := proctrace.StructType(name)
		if err != nil {
			return nil, err
		}
		types = append(types, typ)
	}
	return decode.NewSet(types...)
}
