package stream

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/inspect"
)

// bpftraceOwner returns the process of bpftrace that has the ring, or 0. Versions that use a ring, not perf events, call
// it ringbuf.
func bpftraceOwner(m *ebpf.Map) int {
	info, err := m.Info()
	if err != nil || !strings.HasSuffix(info.Name, "ringbuf") {
		return 0
	}
	id, _ := info.ID()
	usage, err := inspect.Users(m)
	if err != nil {
		return 0
	}
	for _, u := range usage.Users[id] {
		if u.Comm == "bpftrace" {
			return u.PID
		}
	}
	return 0
}

// bpftrace sets t to what is known of a ring of bpftrace. Its records say in 8 bytes what bpftrace is to do; what
// follows depends on the script, which only bpftrace has.
func (t *Types) bpftrace(pid int) error {
	record := &btf.Struct{Name: "bpftrace", Size: 8, Members: []btf.Member{{Name: "action", Type: bpftraceActions()}}}
	set, err := decode.NewCases([]decode.Case{{Type: record, Options: decode.Options{Header: true}}})
	if err != nil {
		return err
	}
	line := fmt.Sprintf("records are in bpftrace's own protocol (process %d): an action, and what its script gives to it", pid)
	t.Set, t.Notes, t.Explanation, t.known = set, []string{line}, []string{line}, true
	return nil
}

// bpftraceActions names the first word of a record. The numbers are those of AsyncAction in bpftrace's sources; 10,000
// are for the calls of each of printf, system and cat, of which the first ones have a name here.
func bpftraceActions() *btf.Enum {
	const calls = 256
	actions := &btf.Enum{Name: "bpftrace_action", Size: 8}
	for first, name := range []string{"printf", "system", "cat"} {
		for i := range uint64(calls) {
			actions.Values = append(actions.Values, btf.EnumValue{Name: fmt.Sprintf("%s_%d", name, i), Value: uint64(first)*10_000 + i})
		}
	}
	for i, name := range []string{
		"exit", "print", "clear", "zero", "time", "join", "helper_error", "print_non_map", "strftime", "watchpoint_attach", "watchpoint_detach", "skboutput",
	} {
		actions.Values = append(actions.Values, btf.EnumValue{Name: name, Value: 30_000 + uint64(i)})
	}
	return actions
}
