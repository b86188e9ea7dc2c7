package runner

import (
	"errors"
	"strings"
	"testing"
)

// The reason is what the verifier says last about the source line, with and without the report of Linux 7.3.
func TestTheVerifiersReason(t *testing.T) {
	const log = `; u64 *count = bpf_map_lookup_elem(&runs, &key); @ a.bpf.c:152
6: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=runs,ks=4,vs=8)
; return ++*count; @ a.bpf.c:154
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
`
	const report = `
Verification failed: Register Type Safety: Invalid dereference

At:
  unchecked @ a.bpf.c:154:9
  Instruction context:
       6 | (85) call bpf_map_lookup_elem#1
  >>>  7 | (79) r1 = *(u64 *)(r0 +0)

Suggestion:
  Add a NULL check before the access.

`
	const summary = "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0"
	const want = "the verifier refuses it: R0 invalid mem access 'map_value_or_null', at: return ++*count; @ a.bpf.c:154"
	for name, text := range map[string]string{"until 7.2": log + summary, "7.3": log + report + summary} {
		lines := strings.Split(text, "\n")
		got := explainLog(errors.New("permission denied"), lines)
		if got.Error() != want {
			t.Errorf("%s: %s", name, got)
		}
		if len(got.Log) != len(lines) {
			t.Errorf("%s: the error has %d lines of a log of %d", name, len(got.Log), len(lines))
		}
	}
}
