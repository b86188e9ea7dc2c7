package proctrace

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/testenv"
)

// With Overwrite, an unread ring of one page has the newest events and no event fails, also after
// the process that started the tracer has ended and its handlers have been replaced.
func TestFlightRecorder(t *testing.T) {
	testenv.NoLeaks(t)
	overwrite, _ := feature.Find("ringbuf-overwrite")
	if err := overwrite.Have(); err != nil {
		if tr, err := Load(Options{Overwrite: true}); !errors.Is(err, ebpf.ErrNotSupported) {
			t.Errorf("Load: %v, %v, want ErrNotSupported", tr, err)
		}
		testenv.SkipWithout(t, "ringbuf-overwrite", err)
	}
	dir := filepath.Join(testenv.BPFFS(t), "tracer")
	own := trace(t, Options{RingBytes: uint32(os.Getpagesize()), Overwrite: true})
	if err := errors.Join(own.Pin(dir), own.Close()); err != nil {
		t.Fatal(err)
	}
	defer Remove(dir)
	const n = 30 // more processes than the ring has room for
	spawn(t, exits(t), n)
	tr, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if err := tr.Replace(); err != nil {
		t.Fatal(err)
	}
	if tr.Events().Flags()&mapflag.RBOverwrite == 0 {
		t.Error("the ring does not overwrite")
	}
	pid := runTrue(t, "")
	events := drain(t, tr)
	if diff := cmp.Diff([]string{"fork_event", "exec_event", "exit_event"}, kinds(events, pid)); diff != "" {
		t.Errorf("the newest (-want +got):\n%s", diff)
	}
	s := total(stats(t, tr))
	if lost(s) != 0 {
		t.Errorf("%+v", s)
	}
	if most := os.Getpagesize() / 72; len(events) > most || s.Written < 3*n+3 {
		t.Errorf("%d events in the ring of %+v, want no more than %d", len(events), s, most)
	}
}
