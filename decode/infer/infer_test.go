package infer_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// foreign loads testdata/foreign.bpf.c with bpftool, which uses libbpf, and returns the
// directories in which its programs and maps are pinned.
func foreign(t *testing.T) (programs, maps string) {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	bpftool, err := exec.LookPath("bpftool")
	if err != nil {
		testenv.SkipWithout(t, "bpftool", err)
	}
	dir := testenv.BPFFS(t)
	programs, maps = filepath.Join(dir, "p"), filepath.Join(dir, "m")
	out, err := exec.Command(bpftool, "prog", "loadall", "testdata/foreign_bpfel.o", programs, "pinmaps", maps).CombinedOutput()
	if err != nil {
		t.Fatalf("bpftool: %v\n%s", err, out)
	}
	return programs, maps
}

var foreignTests = []struct {
	rule, ring, program string
	certainty           infer.Certainty
	why                 []string // in Result.Why
	records             []string // as JSON; "" for a record without a type
}{
	{
		"passed to a function", "by_argument", "argument", infer.Certain,
		[]string{"passed (certain: it is passed to fill as e)"},
		[]string{`{"kind":"KIND_CLOSE","pid":*,"comm":"*"}`},
	},
	{
		"a global variable", "by_variable", "variable", infer.Certain,
		[]string{"counters (certain: it is the variable totals)"},
		[]string{`{"a":1,"b":2}`},
	},
	{
		"an element of a map", "by_element", "element", infer.Certain,
		[]string{"scratch (certain: it is an element of the map heap)"},
		[]string{`{"time":7,"words":[0,0,0,9]}`},
	},
	{
		"named in the source", "by_line", "line", infer.Certain,
		[]string{"spoken (certain: its source line names spoken)"},
		[]string{`{"pid":1,"cpu":2,"time":3}`},
	},
	{
		"of a size that one type has", "by_size", "size", infer.Likely,
		[]string{"lonely (likely: ", "lonely"},
		[]string{`{"a":1,"b":2,"c":2,"d":2,"e":2}`},
	},
	{
		"in no BTF", "by_nothing", "nothing", infer.Likely,
		[]string{"hidden (likely: ", "names struct hidden, which the BTF in the kernel lacks"},
		[]string{`{"a":1,"b":2,"c":3}`},
	},
	{
		"told apart by a constant", "by_tag", "tag", infer.Certain,
		[]string{"opened (certain: it is passed to opening as e)", "closed (", "renamed ("},
		[]string{`{"kind":10,"fd":3}`, `{"kind":11,"result":-9}`, `{"kind":12,"to":"elsewhere"}`},
	},
	{
		"told apart by length, and not", "by_length", "length", infer.Certain,
		[]string{"middle (certain: it is passed to middles as e)", "records of left and right cannot be told apart"},
		[]string{"", "", `{"m":[5,5,5]}`},
	},
	{
		"of no constant size", "by_chance", "chance", infer.Unknown,
		[]string{"the size of its records is not constant"},
		nil,
	},
	{
		"no program", "by_nobody", "nobody", infer.Unknown,
		[]string{"no program refers to the ring"},
		nil,
	},
}

func TestForeignObjects(t *testing.T) {
	programs, maps := foreign(t)
	shared, err := infer.ReadHost()
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	for _, tt := range foreignTests {
		t.Run(tt.rule, func(t *testing.T) {
			m, err := ebpf.LoadPinnedMap(filepath.Join(maps, tt.ring), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			found, err := infer.Of(m, infer.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Log(strings.Join(found.Explain(), "\n"))
			same, err := infer.Of(m, infer.Options{Host: shared})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(found.Explain(), same.Explain()); diff != "" {
				t.Errorf("of a host that several answers share (-alone +shared):\n%s", diff)
			}
			if found.Certainty != tt.certainty || (found.Set == nil) != (tt.records == nil) {
				t.Errorf("certainty %s, want %s", found.Certainty, tt.certainty)
			}
			for _, why := range tt.why {
				if !strings.Contains(found.Why, why) {
					t.Errorf("why: %s\nwant it to say %q", found.Why, why)
				}
			}
			if found.Set != nil {
				if diff := cmp.Diff(tt.records, decoded(t, m, filepath.Join(programs, tt.program), found)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}
