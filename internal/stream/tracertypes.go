package stream

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/bpf/proctrace"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/bpf/tracering"
)

// tracerTypes returns what decodes the records of a ring that a proctrace of any version
// writes, by the BTF of its programs. The errors are those of package tracering.
func tracerTypes(m *ebpf.Map) (*decode.Set, error) {
	types, err := tracering.Types(m)
	if err != nil {
		return nil, err
	}
	return decode.NewSet(types...)
}

// bundledTypes returns what decodes the records of this version's proctrace.
func bundledTypes() (*decode.Set, error) {
	return structTypes("fork_event", "exec_event", "exit_event", "ack_event")
}

// ProcessTable is the name of proctrace's table of processes.
const ProcessTable = "processes"

// ProcessDecoder decodes the values of that table.
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
