package reconstruct

import (
	"math"
	"testing"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
)

// FuzzAll reconstructs records from lines and writes that no compiler makes.
func FuzzAll(f *testing.F) {
	f.Add("e->pid = x;", "e->args[3].b = 1;", int64(16), int64(0), int64(4), int64(8), int64(8), uint64(0), false)
	f.Add("e->a.b = *x;", "__builtin_memcpy(&e->a, p, 9);", int64(-1), int64(3), int64(9), int64(1), int64(1), uint64(1)<<33, true)
	f.Add("*(u64 *)&e->x = -1;", "e->x[2] = 0;", int64(math.MaxInt64), int64(math.MaxInt64-1), int64(8), int64(-5), int64(0), uint64(math.MaxUint64), true)
	f.Fuzz(func(t *testing.T, a, b string, size, off, n, off2, n2 int64, value uint64, isConstant bool) {
		w, v := store(off, n, a), store(off2, n2, b)
		w.Const, w.Constant = value, isConstant
		v.By = "bpf_probe_read_kernel_str"
		s := site(size, w, v, w, store(off2, n, b), store(off+n, n2, a))
		s.Passes = []recordflow.Pass{{Line: v.Line, Off: off, Func: "f"}, {Line: w.Line, Func: "g"}}
		o := site(size, store(off, n, b), v)
		for _, l := range All([]*recordflow.Site{s, o}) {
			if l == nil {
				continue
			}
			if _, err := decode.NewWith(l.Type, decode.Options{Meanings: l.Meanings}); err != nil {
				t.Errorf("%v: %s", err, show(l.Type.Members))
			}
		}
		Meanings(s)
	})
}
