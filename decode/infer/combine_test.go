package infer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// Types are compared with each other: 3000 took 10 s. So many are shown in hex, with the reason.
func TestTooManyTypesToTellApart(t *testing.T) {
	for n, many := range map[int]bool{maxKinds: false, maxKinds + 1: true, 4000: true} {
		r := &Result{}
		for i := range n {
			size := int64(8 + i)
			r.Sites = append(r.Sites, &Site{
				Program: "program 1 (p)", Type: &btf.Struct{Name: fmt.Sprint("s", i), Size: uint32(size)}, Certainty: Certain, Why: "stated",
				Size: size, flow: &recordflow.Site{Min: size, Max: size},
			})
		}
		r.combine()
		if said := strings.Contains(r.Why, "more than 512 types"); said != many || (r.Set == nil) != many {
			t.Errorf("%d types: %.200s", n, r.Why)
		}
	}
}
