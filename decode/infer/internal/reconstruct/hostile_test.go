package reconstruct

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// overlapping returns sites that fill the same struct, each with many members that overlap each other.
func overlapping(sites int) (all []*recordflow.Site) {
	for i := range sites {
		s := &recordflow.Site{Func: "f", Call: recordflow.Reserve, Min: 1 << 16, Max: 1 << 16, Line: recordflow.Line{
			Text: "struct e *e = bpf_ringbuf_reserve(&rb, sizeof(struct e), 0);", Column: 15,
		}}
		for n := range maxFields {
			name := fmt.Sprintf("m%d_%d", i, n)
			if n < 2 {
				name = fmt.Sprint("m", n)
			}
			s.Writes = append(s.Writes, recordflow.Write{
				Ins: i*maxFields + n, Func: "f", Off: int64(4 * n), Size: 1 << 15, Max: 1 << 15, By: "bpf_probe_read",
				Line: recordflow.Line{File: "f", Number: n + 1, Text: "bpf_probe_read(&e->" + name + ", 32768, p);", Column: 1},
			})
		}
		all = append(all, s)
	}
	return all
}

// The members of a hostile program were all compared with all others: 100 s for 32 sites.
func TestManyOverlappingMembers(t *testing.T) {
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	began := used()
	for i, l := range All(overlapping(maxLike)) {
		if l != nil {
			t.Errorf("site %d: %d members of which none is sure", i, len(l.Type.Members))
		}
	}
	if took := used() - began; took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
