package reconstruct

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

func TestZerosOfTwoMembersAreThoseOfTheFirst(t *testing.T) {
	zeros := constantStore(8, 8, 0, "e->size = 0;")
	unnamed := func(w recordflow.Write) recordflow.Write {
		w.Line = recordflow.Line{}
		return w
	}
	size, filled := unnamed(store(8, 4, "")), unnamed(constantStore(12, 4, 1, ""))
	kind := store(0, 4, "e->kind = x;")
	for _, tt := range []struct {
		rule   string
		writes []recordflow.Write
		want   string
	}{
		{"both are stored elsewhere", []recordflow.Write{kind, zeros, size, filled}, "kind u32@0, at_4 u8[4]@4, size u32@8, at_12 u8[4]@12"},
		{"only the first", []recordflow.Write{kind, zeros, size}, "kind u32@0, at_4 u8[12]@4"},
		{"only the second", []recordflow.Write{kind, zeros, filled}, "kind u32@0, at_4 u8[12]@4"},
		{"the first can be two members", []recordflow.Write{kind, zeros, unnamed(constantStore(8, 4, 1, "")), filled}, "kind u32@0, at_4 u8[12]@4"},
	} {
		if diff := cmp.Diff(tt.want, show(layoutOfOne(site(16, tt.writes...)).Type.Members)); diff != "" {
			t.Errorf("%s: %s", tt.rule, diff)
		}
	}
}

func TestHalfOfAResultInEightBytesIsOneMember(t *testing.T) {
	for _, tt := range []struct {
		rule string
		from recordflow.Origin
		want string
	}{
		{"the upper half", recordflow.Origin{Helper: "bpf_get_current_pid_tgid", Shift: 32, Width: 32}, "pid u64@0, code u32@8"},
		{"the lower half", recordflow.Origin{Helper: "bpf_get_current_pid_tgid", Width: 32}, "pid u64@0, code u32@8"},
		{"both", recordflow.Origin{Helper: "bpf_get_current_pid_tgid", Width: 64}, "at_0 u8[8]@0, code u32@8"},
	} {
		pid := store(0, 8, "e->pid = pid;")
		pid.From = tt.from
		got := layoutOfOne(site(12, pid, store(8, 4, "e->code = code;")))
		if diff := cmp.Diff(tt.want, show(got.Type.Members)); diff != "" {
			t.Errorf("%s: %s", tt.rule, diff)
		}
	}
}
