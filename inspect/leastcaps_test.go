package inspect

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// CAP_BPF and CAP_PERFMON suffice to find the programs of a ring, but not where they are attached.
func TestProgramsWithoutAdmin(t *testing.T) {
	needIterators(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "least_caps", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	p := refersTo(t, m)
	t.Cleanup(func() { p.Close() })
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	want := fmt.Sprintf("program %d refers RawTracepoint, attached unknown: true\n", id)
	got := asNobodyWith(t, []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, "programs of least_caps")
	for _, line := range []string{want, "attach points unknown: operation not permitted (needs CAP_SYS_ADMIN)\n"} {
		if !strings.Contains(got, line) {
			t.Errorf("%q is missing from\n%s", line, got)
		}
	}
}

// programsOfLeastCaps describes the programs of the map least_caps, and what the report says of them.
func programsOfLeastCaps(r *Report) (text string) {
	for _, m := range r.Maps {
		for _, p := range m.Programs {
			if m.Name == "least_caps" {
				text += fmt.Sprintf("program %d %s %s, attached unknown: %v\n", p.ID, p.Name, p.Type, p.Attached == nil)
			}
		}
	}
	return text + strings.Join(r.Notes, "\n") + "\n"
}
