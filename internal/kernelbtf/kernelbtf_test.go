package kernelbtf

import (
	"runtime"
	"testing"
)

func TestTypesAreSharedAsLongAsSomebodyHasThem(t *testing.T) {
	first := Cache()
	if Cache() != first {
		t.Error("a second one gets another")
	}
	runtime.GC()
	if Cache() != first {
		t.Error("they are gone although somebody has them")
	}
	runtime.KeepAlive(first)
	first = nil
	runtime.GC()
	if shared.Value() != nil {
		t.Error("they stay although nobody has them")
	}
}
