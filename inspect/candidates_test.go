package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// A shell is offered names, pins and ids, but nothing that it would evaluate.
func TestCandidates(t *testing.T) {
	testenv.NoLeaks(t)
	dir := testenv.BPFFS(t)
	name := fmt.Sprint("cand", os.Getpid())
	m := testenv.Map(t, &ebpf.MapSpec{Name: name, Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	for _, base := range []string{"plain", "$(touch x)", "a b", "`id`", "new\nline", "semi;colon", "-flag"} {
		if err := pin.Map(m, filepath.Join(dir, base), pin.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, c := range Candidates(ebpf.RingBuf) {
		if base, err := filepath.Rel(dir, c.Ref); err == nil && filepath.IsLocal(base) {
			got = append(got, base)
		} else if c.Ref == name || c.Ref == fmt.Sprint("id:", idOf(t, m)) {
			got = append(got, c.Ref)
		}
	}
	slices.Sort(got)
	want := []string{"-flag", name, fmt.Sprint("id:", idOf(t, m)), "plain"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if slices.ContainsFunc(Candidates(ebpf.Arena), func(c Candidate) bool { return c.Ref == name }) {
		t.Error("a ring is offered as an arena")
	}
}
