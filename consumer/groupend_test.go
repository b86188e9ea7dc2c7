package consumer_test

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestGroupAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 2)
	run(t, load(t, maps[0]), ten)
	before := mapped(t)
	g := group(t, consumer.Options{}, maps...)
	for range 2 {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if now := mapped(t); now > before {
		t.Errorf("%d mappings are left", now-before)
	}
	checkGroupClosed(t, g)
}

func TestGroupClosedDuringAPass(t *testing.T) {
	testenv.NoLeaks(t)
	maps := rings(t, 3)
	for _, m := range maps {
		run(t, load(t, m), ten)
	}
	before := mapped(t)
	g := group(t, consumer.Options{}, maps...)
	got := map[int][]uint64{}
	for rec := range g.Pass(0) {
		if len(got) == 0 {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		}
		got[rec.Ring] = append(got[rec.Ring], seq(t, rec))
	}
	// The pass over the first ring finishes; the pass over the next ring does not begin.
	if err := g.Err(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(map[int][]uint64{1: from(0, 10)}, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	if now := mapped(t); now > before {
		t.Errorf("%d mappings are left", now-before)
	}
	checkGroupClosed(t, g)
}

// checkGroupClosed calls all methods of a closed Group and checks their errors.
func checkGroupClosed(t *testing.T, g *consumer.Group) {
	t.Helper()
	check := func(name string, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	check("Wait", g.Wait(t.Context()))
	for range g.Pass(0) {
		t.Error("Pass has a record after Close")
	}
	check("Pass", g.Err())
	turns := 0
	for _, err := range g.Records(t.Context()) {
		check("Records", err)
		turns++
	}
	if turns != 1 {
		t.Errorf("Records has %d turns after Close", turns)
	}
	for i := range g.Len() {
		_, err := g.Stats(i)
		check("Stats", err)
		if keys := g.Keys(i); keys != nil {
			t.Errorf("ring %d stands under keys %x", i, keys)
		}
	}
}
