package pin_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

func TestReplaceMakesThePinThere(t *testing.T) {
	testenv.NoLeaks(t)
	dir, first, second := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize), testenv.Ring(t, 2*testenv.PageSize)
	path := dir + "/a/ring"
	must(t, pin.Replace(first, path, pin.Options{Mode: 0o644}))
	must(t, pin.Replace(second, path, pin.Options{Mode: 0o640}))
	must(t, pin.Replace(second, path, pin.Options{Mode: 0o640}))
	if diff := cmp.Diff([]string{"a", "a/ring"}, tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	m, err := pin.Open(path)
	must(t, err)
	defer m.Close()
	if mapID(t, m) != mapID(t, second) {
		t.Error("the old map is still there")
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if first.IsPinned() || second.IsPinned() {
		t.Error("the map was changed")
	}
}

func TestReplaceRefusesWhatIsNotAMap(t *testing.T) {
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	must(t, pin.Program(program(t), dir+"/prog", pin.Options{}))
	must(t, os.Mkdir(dir+"/dir", 0o755))
	must(t, os.Symlink("prog", dir+"/symlink"))
	before := tree(t, dir)
	for path, tt := range map[string]struct {
		want  error
		cause string
	}{
		dir + "/prog":    {pin.ErrWrongType, "wrong type: a program is pinned there, wanted a map"},
		dir + "/dir":     {pin.ErrNotPin, "not a pin: it is a directory"},
		dir + "/symlink": {pin.ErrNotPin, "not a pin: it is a symbolic link"},
		dir + "/a.b":     {pin.ErrName, `not a name for a pin: "a.b" has a dot, which bpffs reserves for the kernel's own entries`},
		"/tmp/x":         {pin.ErrNotBPFFS, "not on a bpffs"},
	} {
		wantError(t, pin.Replace(m, path, pin.Options{}), tt.want, fmt.Sprintf("replace map at %q: %s", path, tt.cause))
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A process that opens a path while others replace it always gets one of the maps.
func TestReplaceIsAtomic(t *testing.T) {
	testenv.NoLeaks(t)
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	dir := testenv.BPFFS(t)
	path := dir + "/ring"
	maps := []*ebpf.Map{testenv.Ring(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize)}
	ids := map[ebpf.MapID]bool{}
	for _, m := range maps {
		ids[mapID(t, m)] = true
	}
	must(t, pin.Replace(maps[0], path, pin.Options{}))

	done := make(chan struct{})
	var writers, readers sync.WaitGroup
	var opened [2]int
	for i := range opened {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				m, err := pin.Open(path, ebpf.RingBuf)
				if err != nil {
					t.Error(err)
					return
				}
				opened[i]++
				info, err := m.Info()
				m.Close()
				if id, _ := info.ID(); err != nil || !ids[id] {
					t.Errorf("opened map %d, %v", id, err)
					return
				}
			}
		})
	}
	for i := range 2 {
		writers.Go(func() {
			for n := range rounds {
				if err := pin.Replace(maps[(n+i)%len(maps)], path, pin.Options{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	if diff := cmp.Diff([]string{"ring"}, tree(t, dir)); diff != "" {
		t.Errorf("left behind, -want +got:\n%s", diff)
	}
	t.Logf("%d replacements, %d opens", 2*rounds, opened[0]+opened[1])
}

// If several processes pin to one path at once, exactly one succeeds.
func TestOnlyOnePinWins(t *testing.T) {
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	const racers = 8
	errs := make([]error, racers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = pin.Map(m, dir+"/a/b/ring", pin.Options{}) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, os.ErrExist):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d pins succeeded", won)
	}
}
