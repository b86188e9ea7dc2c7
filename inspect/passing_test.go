package inspect

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/testenv"
)

// withoutDescriptors calls f while this process cannot open any file, because of RLIMIT_NOFILE.
func withoutDescriptors(t *testing.T, f func()) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

func TestASamplerLoadsTheIteratorThatItCouldNotLoadBefore(t *testing.T) {
	s, err := mapiter.NewScanner()
	testenv.SkipIfNotSupported(t, "iter-bpf-map", err)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	sampler := NewSampler(SamplerOptions{})
	defer sampler.Close()
	sampler.host.maps.Pause, sampler.host.users.Pause = 0, 0
	withoutDescriptors(t, func() {
		_, _ = sampler.Sample() // can fail
		if _, loaded := sampler.host.maps.Known(); loaded {
			t.Error("the iterator is loaded without a descriptor")
		}
	})
	ringIn(t, sampler, m)
	if id := idOf(t, m); sampler.tracks[id].identity.kernel == 0 {
		t.Error("the next sample is not the iterator's")
	}
}
