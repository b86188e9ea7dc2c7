package reconstruct

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
)

func TestMembersThatHelpersTell(t *testing.T) {
	from := func(off, size int64, helper string, shift uint8) recordflow.Write {
		return recordflow.Write{Off: off, Size: size, Max: size, From: recordflow.Origin{Helper: helper, Shift: shift, Width: uint8(8 * size)}}
	}
	tgid, clock := from(8, 4, "bpf_get_current_pid_tgid", 32), from(0, 8, "bpf_ktime_get_ns", 0)
	comm := recordflow.Write{Off: 16, Size: 16, Max: 16, By: "bpf_get_current_comm"}
	tests := []struct {
		rule   string
		writes []recordflow.Write
		want   string
	}{
		{"results and buffers", []recordflow.Write{clock, tgid, comm}, "ktime u64@0, tgid u32@8, at_12 u8[4]@12, comm char[16]@16"},
		{"a name is given once", []recordflow.Write{tgid, from(0, 4, "bpf_get_current_pid_tgid", 32)}, "at_0 u8[8]@0, tgid u32@8, at_12 u8[20]@12"},
		{"what overlaps", []recordflow.Write{tgid, from(8, 8, "bpf_ktime_get_ns", 0)}, "at_0 u8[8]@0, tgid u32@8, at_12 u8[20]@12"},
		{"a part of a result", []recordflow.Write{from(0, 4, "bpf_ktime_get_ns", 0)}, ""},
		{"source lines say more", []recordflow.Write{tgid, store(0, 4, "e->x = x;")}, "x u32@0, at_4 u8[28]@4"},
	}
	for _, tt := range tests {
		got := ""
		if l := layoutOfOne(site(32, tt.writes...)); l != nil {
			got = show(l.Type.Members)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.rule, diff)
		}
	}
}
