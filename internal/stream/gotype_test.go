package stream

import (
	"fmt"
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// runtimeEvent is a struct that the runtime of this executable knows.
type runtimeEvent struct {
	Pid  uint32
	Comm [16]byte
}

// --btf takes an executable in Go, stripped or not.
func TestTypesOfAnExecutableInGo(t *testing.T) {
	_ = fmt.Sprint(&runtimeEvent{})
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sources, err := LoadSources([]string{path})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"runtimeEvent", "struct runtimeEvent"} {
		found, err := FindNamed([]string{name}, sources, false)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if size, err := btf.Sizeof(found[0].Type); err != nil || size != 20 {
			t.Errorf("%s: %d bytes, %v", name, size, err)
		}
	}
}
