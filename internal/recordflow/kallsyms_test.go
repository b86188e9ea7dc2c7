package recordflow

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestHelpersOfTheKernelsSymbols(t *testing.T) {
	const symbols = `ffffffff81000000 T _stext
ffffffff81000100 T bpf_ktime_get_ns
ffffffff81000200 t __htab_map_lookup_elem
ffffffff81000080 T __bpf_call_base
ffffffff81000300 d bpf_ktime_get_ns_proto
ffffffff81000400 T unrelated
0000000000000000 T bpf_hidden
bpf_hostile
ffffffff81000500 T _etext
ffffffff83000000 T bpf_at_boot
`
	names, err := helpersOf(strings.NewReader(symbols))
	if err != nil {
		t.Fatal(err)
	}
	want := map[int32]string{0x80: "bpf_ktime_get_ns", 0x180: "__htab_map_lookup_elem"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	module := strings.NewReader("ffffffff81000080 T __bpf_call_base\nffffffffc0000000 t bpf_of_a_module\t[module]\n")
	if names, err = helpersOf(module); err != nil || len(names) != 0 {
		t.Errorf("of a module: %v, %v", names, err)
	}
}

func TestSymbolsThatCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	if _, err := helpersOf(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	names, err := helpersOf(strings.NewReader("0000000000000000 T __bpf_call_base\n0000000000000000 T bpf_ktime_get_ns\n"))
	if err != nil || len(names) != 0 {
		t.Errorf("%v, %v: want no names of symbols without addresses", names, err)
	}
}

// The running kernel has the helpers that every program knows.
func TestHelpers(t *testing.T) {
	names, err := readHelpers()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, name := range names {
		found[name] = true
	}
	for _, name := range []string{Reserve, Output, "bpf_ktime_get_ns", "bpf_get_current_comm", "bpf_probe_read_kernel_str"} {
		if !found[name] {
			t.Errorf("no %s", name)
		}
	}
}
