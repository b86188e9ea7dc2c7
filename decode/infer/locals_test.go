package infer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/recordflow"
)

func TestLinesOfVariablesTellTheByteOrder(t *testing.T) {
	store := func(off int64, fn, text string, column int) recordflow.Write {
		return recordflow.Write{Off: off, Size: 2, Func: fn, Line: recordflow.Line{Text: text, Column: column}}
	}
	shared := map[int]decode.Meaning{8: decode.Ktime}
	s := &Site{
		meanings: shared,
		flow: &recordflow.Site{Writes: []recordflow.Write{
			store(0, "f", "e->dport = dport;", 10),
			store(2, "g", "e->dport = dport;", 10), // g sets no variable
			store(4, "f", "e->x = dport;", 6),
			store(4, "f", "e->x = other;", 6),
			store(8, "f", "e->y = dport;", 6),
			store(-1, "f", "e->y = dport;", 6),
		}},
		program: &program{lines: []line{{fn: "f", text: "u16 dport = sk->__sk_common.skc_dport;"}, {fn: "g", text: "return 0;"}}},
	}
	s.addLocals()
	if diff := cmp.Diff(map[int]decode.Meaning{0: decode.Port, 8: decode.Ktime}, s.meanings); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if len(shared) != 1 {
		t.Errorf("the map of other sites is now %v", shared)
	}
}
