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

// The compiler passes the record itself for its first member: no instruction has the line of that argument.
func TestWhatIsLoadedNamesAMemberWithoutALine(t *testing.T) {
	load := func(off, size int64, text string) recordflow.Write {
		w := call(off, size, text)
		w.Computed = w.Line
		return w
	}
	const saddr, sport = "bpf_skb_load_bytes(skb, n + offsetof(struct iphdr, saddr),", "bpf_skb_load_bytes(skb, n + offsetof(struct tcphdr, source),"
	for _, tt := range []struct {
		rule string
		site *recordflow.Site
		want string
	}{
		{"an address", site(8, load(0, 4, saddr), store(4, 4, "e->n = x;")), "saddr u32@0, n u32@4"},
		{"a port", site(8, load(0, 2, sport), store(4, 4, "e->n = x;")), "source u16@0, n u32@4"},
		{"more than the address", site(12, load(0, 8, saddr), store(8, 4, "e->n = x;")), "at_0 u8[8]@0, n u32@8"},
		{"a name that another member has", site(8, load(0, 4, saddr), store(4, 4, "e->saddr = x;")), "at_0 u8[4]@0, saddr u32@4"},
		{"a place that has a name", site(8, load(0, 4, saddr), store(0, 4, "e->from = x;"), store(4, 4, "e->n = x;")), "from u32@0, n u32@4"},
		{"all of the call in one line", site(8, load(0, 4, "bpf_skb_load_bytes(skb, n + offsetof(struct iphdr, saddr), p, 4);"), store(4, 4, "e->n = x;")), "at_0 u8[4]@0, n u32@4"},
	} {
		if diff := cmp.Diff(tt.want, show(layoutOfOne(tt.site).Type.Members)); diff != "" {
			t.Errorf("%s: %s", tt.rule, diff)
		}
	}
}
