package infer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

func TestEffort(t *testing.T) {
	if (effort{}).over() {
		t.Error("without a bound it is over")
	}
	if !(startEffort(-1)).over() {
		t.Error("without any time it is not over")
	}
	long := startEffort(time.Hour)
	if long.over() {
		t.Error("an hour is over")
	}
	if long.started = long.started.Add(-2 * time.Hour); long.over() {
		t.Error("it is over although the process did not run for an hour")
	}
	if long.used -= 2 * time.Hour; !long.over() {
		t.Error("it is not over although the process ran for an hour")
	}
}

// structs are structs of 8 bytes, each with a nested struct of many members.
func structs(n, members int) *catalog {
	u32 := &btf.Int{Name: "u32", Size: 4}
	inner := &btf.Struct{Name: "inner", Size: 4}
	for i := range members {
		inner.Members = append(inner.Members, btf.Member{Name: fmt.Sprint("m", i), Type: u32})
	}
	c := &catalog{exported: map[btf.Type]string{}}
	for i := range n {
		c.structs = append(c.structs, &btf.Struct{Name: fmt.Sprint("s", i), Size: 8, Members: []btf.Member{
			{Name: fmt.Sprint("a", i), Type: inner}, {Name: "pid", Type: u32, Offset: 32},
		}})
	}
	return c
}

// BTF with many large types of the same size cannot make a search endless, nor a choice among the first of them.
func TestTooManyCandidates(t *testing.T) {
	for _, tt := range []struct {
		rule    string
		structs int
		most    time.Duration
		want    string
	}{
		{"too many", 4 * maxCandidates, 0, "too many types"},
		{"too little time", 1, -1, "too many types"},
		{"few", 2, 0, "2 types that fit: s0, s1"},
		{"one", 1, 0, "s0 is the only type"},
		{"too large", 1 << 15, 50 * time.Millisecond, "too many types"},
	} {
		members := 2
		if tt.structs == 1<<15 {
			members = maxMembers
		}
		p := &program{sources: []source{{catalog: structs(tt.structs, members), same: true}}}
		if tt.most != 0 {
			p.effort = startEffort(tt.most)
		}
		s := &Site{
			Size: 8, program: p, named: map[placed]bool{{"pid", 4}: true},
			flow: &recordflow.Site{Min: 8, Max: 8, Writes: []recordflow.Write{{Off: 4, Size: 4}}},
		}
		began := processTime()
		if p.bySize(s); !strings.Contains(s.Why, tt.want) {
			t.Errorf("%s: %s, want %s", tt.rule, s.Why, tt.want)
		}
		if took := processTime() - began; took > 5*time.Second {
			t.Errorf("%s took %v", tt.rule, took)
		}
	}
}
