package kernelbtf

import (
	"runtime"
	"testing"
)

func TestTypesAreSharedAsLongAsSomebodyHasThem(t *testing.T) {
	first := Cache()
	if Cache() != first {
		t.Error("a second call returns another cache")
	}
	runtime.GC()
	if Cache() != first {
		t.Error("the cache is gone although it is referenced")
	}
	runtime.KeepAlive(first)
	first = nil
	runtime.GC()
	if shared.Value() != nil {
		t.Error("the cache stays although nothing references it")
	}
}
