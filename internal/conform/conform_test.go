package conform

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// Each rule has the verdict that is known for the running kernel's release, and leaks nothing.
func TestRules(t *testing.T) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	for _, r := range Rules() {
		t.Run(r.ID(), func(t *testing.T) {
			testenv.NoLeaks(t)
			res := test(t.Context(), r, bpf{}, patience)
			t.Logf("%s %s %s", res.Verdict, res.Feature, res.Detail)
			want := expected(r, release)
			if res.Verdict == want || res.Verdict == NotSupported && matterOfConfiguration(res.Feature) {
				return
			}
			t.Errorf("%s %s %s: want %s on %s", res.Verdict, res.Feature, res.Detail, want, release)
		})
	}
}

// matterOfConfiguration reports whether kernels of any version can lack the feature, depending on their
// configuration. Those in vmtest's list that have it must.
func matterOfConfiguration(feature string) bool {
	return feature == "fentry" && !slices.Contains(strings.Split(os.Getenv(testenv.RequiredFeatures), ","), feature)
}

// step is the verdict of releases from since on.
type step struct {
	since   string
	verdict Verdict
}

// known has the verdicts, by release, of each rule that some kernel with the map type of its group does
// not keep. Before the first step the verdict is NotSupported. Yes and No alternate where older stable
// series got a fix too: 6.12.88 may have it when 6.13 does not.
var known = map[string][]step{
	"ringbuf/pending-limit":            {{"5.14", Yes}}, // the test needs syscall programs
	"ringbuf/overwrite-create":         {{"6.19", Yes}},
	"ringbuf/overwrite-oldest":         {{"6.19", Yes}},
	"ringbuf/overwrite-busy":           {{"6.19", Yes}},
	"ringbuf/query-overwrite-position": {{"6.19", Yes}},
	"ringbuf/dynptr":                   {{"5.19", Yes}},
	"ringbuf/dynptr-full":              {{"5.19", Yes}},
	"ringbuf/dynptr-limit":             {{"5.19", Yes}},
	"ringbuf/dynptr-leak":              {{"5.19", Yes}},
	"ringbuf/verifier-commit-start":    {{"5.8", No}, {"5.17", Yes}},
	"arena/alloc-anywhere":             {{"6.9", No}, {"7.0", Yes}},
	"arena/memory-accounted":           {{"6.9", No}, {"7.3", Yes}},
	"arena/map-not-split":              arenaOneMappingSteps,
	"arena/map-not-inherited":          arenaOneMappingSteps,
	"arena/reserve":                    {{"6.17", Yes}},
	"arena/acquire-release":            {{"6.15", Yes}},
	"percpu/other-cpu":                 {{"5.19", Yes}},
	"prealloc/memory":                  {{"5.8", No}, {"6.4", Yes}},
	"prealloc/no-growth":               {{"5.8", No}, {"6.4", Yes}},
	"prealloc/nmi-without":             {{"5.8", No}, {"6.1", Yes}},
	"recursion/not-nested":             {{"5.8", No}, {"5.12", Yes}},
	"recursion/misses-counted":         {{"5.8", No}, {"5.12", Yes}},
	"kptr/kept-by-update":              cancelledSteps,
	"kptr/kept-by-delete":              cancelledSteps,
}

// knownARM64 has the verdicts of rules that differ on arm64: their checks need fentry, which came with Linux 6.4.
var knownARM64 = map[string][]step{
	"recursion/update-in-update": {{"6.4", Yes}},
	"recursion/not-nested":       {{"6.4", Yes}},
	"recursion/misses-counted":   {{"6.4", Yes}},
}

// The verdicts of two rules each, see arenaOneMapping and cancelled.
var (
	arenaOneMappingSteps = []step{
		{"6.9", No}, {"6.12.88", Yes}, {"6.13", No}, {"6.18.30", Yes}, {"6.19", No}, {"7.0.7", Yes},
	}
	cancelledSteps = []step{{"6.9", No}, {"7.1.5", Yes}}
)

// knownGroups has the verdicts of groups that need a map type or kfuncs that not all kernels have.
var knownGroups = map[Group][]step{
	UserRingBuf: {{"6.1", Yes}},
	Arena:       {{"6.9", Yes}},
	Kptr:        {{"6.9", Yes}}, // the release since which syscall programs can call the kfuncs
}

func expected(r Rule, release string) Verdict {
	steps, ok := known[r.ID()]
	if arm64, differs := knownARM64[r.ID()]; differs && strings.Contains(release, "arm64") {
		steps, ok = arm64, true
	}
	if !ok {
		steps, ok = knownGroups[r.Group]
	}
	if !ok {
		return Yes
	}
	v := NotSupported
	for _, s := range steps {
		if compareReleases(release, s.since) >= 0 {
			v = s.verdict
		}
	}
	return v
}

func TestExpected(t *testing.T) {
	for release, want := range map[string]Verdict{
		"5.10.0-46-amd64": NotSupported, "6.9.1": No, "6.12.87+deb13-amd64": No, "6.12.88+deb13-amd64": Yes, "6.17.9": No,
		"6.18.15+deb13-amd64": No, "6.18.44-x": Yes, "6.19.14": No, "7.0": No, "7.0.7": Yes, "7.2.13+deb14-amd64": Yes,
	} {
		if got := expected(Rule{Group: Arena, Name: "map-not-split"}, release); got != want {
			t.Errorf("%s on %s, want %s", got, release, want)
		}
	}
}

func TestRulesAreStated(t *testing.T) {
	seen := map[string]bool{}
	count := map[Group]int{}
	for _, r := range Rules() {
		if seen[r.ID()] {
			t.Errorf("two rules are called %s", r.ID())
		}
		seen[r.ID()] = true
		count[r.Group]++
		if !strings.HasSuffix(r.Statement, ".") || r.Source == "" || r.check == nil {
			t.Errorf("%s: no statement, source or test", r.ID())
		}
	}
	for _, g := range Groups() {
		t.Logf("%s: %d", g, count[g])
		if count[g] == 0 {
			t.Errorf("no rules in %s", g)
		}
	}
	for id := range known {
		if !seen[id] {
			t.Errorf("no rule is called %s", id)
		}
	}
}
