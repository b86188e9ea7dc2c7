package inspect

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/testenv"
)

// withoutDescriptors calls f while this process can open no file.
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
	m := testenv.Ring(t, 4096)
	sampler := NewSampler(SamplerOptions{})
	defer sampler.Close()
	sampler.host.maps.Pause, sampler.host.users.Pause = 0, 0
	withoutDescriptors(t, func() {
		if _, err := sampler.Sample(); !errors.Is(err, unix.EMFILE) {
			t.Errorf("a sample without descriptors: error %v", err)
		}
	})
	if d := ringIn(t, sampler, m); d.identity == 0 {
		t.Error("the next sample is not the iterator's")
	}
}
