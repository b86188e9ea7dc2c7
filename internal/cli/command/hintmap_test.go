package command

import (
	"testing"

	"github.com/cilium/ebpf"
)

func TestHintForMapsOfMaps(t *testing.T) {
	for _, kind := range []ebpf.MapType{ebpf.ArrayOfMaps, ebpf.HashOfMaps} {
		if got, want := typeHint(kind, "outer"), "rbtool tail outer reads the rings in it"; got != want {
			t.Errorf("%v: %q, want %q", kind, got, want)
		}
	}
}
