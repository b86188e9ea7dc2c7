package order

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// A goroutine that sees the store of StoreRelease also sees all stores before it. With -race, the
// race detector knows that.
func TestStoreReleasePublishes(t *testing.T) {
	var published, taken, data uint64
	const rounds = 10_000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := uint64(1); n <= rounds; n++ {
			for atomic.LoadUint64(&published) != n {
				runtime.Gosched()
			}
			if data != n {
				t.Errorf("data is %d, want %d", data, n)
				data = n
			}
			StoreRelease(&taken, n)
		}
	}()
	for n := uint64(1); n <= rounds; n++ {
		data = n
		StoreRelease(&published, n)
		for atomic.LoadUint64(&taken) != n {
			runtime.Gosched()
		}
	}
	<-done
}

func TestTotal(t *testing.T) {
	for arch, want := range map[string]bool{"amd64": true, "s390x": true, "arm64": false, "riscv64": false, "ppc64le": false} {
		if got := Total(arch); got != want {
			t.Errorf("%s: %t", arch, got)
		}
	}
}
