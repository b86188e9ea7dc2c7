package infer

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/recordflow"
	"github.com/rbtool/rbtool/internal/syscall"
)

func TestLoadsOfSamples(t *testing.T) {
	load := func(off, size int64) recordflow.Write { return recordflow.Write{Off: off, Size: size} }
	reads := []recordflow.Write{
		load(0, 4), load(24, 4), load(24, 16), load(-1, 4), // the last two are not in the sample
		{Off: 0, Size: 28, By: "bpf_dynptr_data"},
	}
	if diff := cmp.Diff([]recordflow.Write{load(0, 4), load(24, 4)}, loads(reads, 28)); diff != "" {
		t.Error(diff)
	}
}

// A struct that no BTF has is known from the lines that read it.
func TestSampleThatIsOnlyRead(t *testing.T) {
	d := &recordflow.Drain{Reads: []recordflow.Write{
		{Off: 0, Size: 8, By: "bpf_dynptr_data", Line: recordflow.Line{Number: 1, Column: 6, Text: "\tc = bpf_dynptr_data(sample, 0, sizeof(*c));"}},
		{Off: 0, Size: 4, Line: recordflow.Line{Number: 2, Column: 12, Text: "\tkind = c->kind;"}},
		{Off: 4, Size: 4, Line: recordflow.Line{Number: 3, Column: 12, Text: "\tlast = c->pid;"}},
	}}
	p := &program{info: &syscall.ProgramInfo{Name: "p"}}
	sites := p.drained(d)
	if len(sites) != 1 {
		t.Fatalf("%d sites", len(sites))
	}
	complete(sites)
	want := map[placed]bool{{"kind", 0}: true, {"pid", 4}: true}
	if sites[0].Type == nil || sites[0].KnownBy != reconstructed {
		t.Fatalf("%+v", sites[0])
	}
	if diff := cmp.Diff(want, placesOf(sites[0].Type), cmp.AllowUnexported(placed{})); diff != "" {
		t.Error(diff)
	}
}
