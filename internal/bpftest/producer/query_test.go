package producer

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestQueryFollowsTheRing(t *testing.T) {
	p, ring := load(t, 1<<16)
	rd := newReader(t, ring)
	query := func(want Query) {
		t.Helper()
		got, err := p.Query()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("query (-want +got):\n%s", diff)
		}
	}
	query(Query{RingSize: 1 << 16})
	run(t, p, Job{Count: 3, Size: 9, DiscardEvery: 2})
	query(Query{RingSize: 1 << 16, AvailData: 3 * 24, ProdPos: 3 * 24})
	rd.next()
	query(Query{RingSize: 1 << 16, AvailData: 2 * 24, ProdPos: 3 * 24, ConsPos: 24})
}
