package stream

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/bpf/tracering"
)

// tracerTypes returns the types of the records in a ring of proctrace, of any version, from the BTF of
// its programs. Its errors are those of package tracering.
func tracerTypes(m *ebpf.Map) (*decode.Set, error) {
	types, err := tracering.Types(m)
	if err != nil {
		return nil, err
	}
	return decode.NewSet(types...)
}

// bundledTypes returns the types of the records of proctrace in this version of rbtool.
func bundledTypes() (*decode.Set, error) {
	return structTypes("fork_event", "exec_event", "exit_event", "ack_event")
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
