package proctrace

import (
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/object"
)

var (
	newSpec      = object.Copies(loadBpf)
	newTableSpec = object.Copies(loadTable)
)

// StructType returns the BTF of a struct in this version of bpf/headers/proctrace.h: fork_event,
// exec_event, exit_event and ack_event are the records, process_entry is a value of the process
// table. The error matches [btf.ErrNotFound] for any other name. The caller must not change the
// struct. StructType may be called by many goroutines at once.
func StructType(name string) (*btf.Struct, error) {
	load := newSpec
	if name == "process_entry" {
		load = newTableSpec
	}
	spec, err := load()
	if err != nil {
		return nil, fmt.Errorf("load types of proctrace: %w", err)
	}
	var found *btf.Struct
	if err := spec.Types.TypeByName(name, &found); err != nil {
		return nil, fmt.Errorf("find type of proctrace: %w", err)
	}
	return found, nil
}
