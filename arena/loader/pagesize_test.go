package loader

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
)

func TestPageSizeOfPrograms(t *testing.T) {
	for _, page := range []uint64{4 << 10, 16 << 10, 64 << 10} {
		spec, err := arenaset.Spec()
		if err != nil {
			t.Fatal(err)
		}
		v := spec.Variables[pageVariable]
		if v == nil || !v.Constant() {
			t.Fatalf("%s is no constant of the programs", pageVariable)
		}
		if err := setPageSize(spec, page); err != nil {
			t.Fatal(err)
		}
		if got, err := uintOf(v); got != page || err != nil {
			t.Errorf("pages of %d bytes: the programs have %d, %v", page, got, err)
		}

		// Programs compiled with older headers know only pages of 4 KiB.
		delete(spec.Variables, pageVariable)
		err = setPageSize(spec, page)
		if page == 4<<10 {
			if err != nil {
				t.Errorf("old programs, pages of 4 KiB: %v", err)
			}
		} else if !errors.Is(err, ebpf.ErrNotSupported) || !strings.Contains(err.Error(), "compiled for pages of 4096 bytes") {
			t.Errorf("old programs, pages of %d bytes: error %v", page, err)
		}

		// Programs without arena.h do not depend on the page size.
		delete(spec.Variables, baseVariable)
		if err := setPageSize(spec, page); err != nil {
			t.Errorf("programs without %s: %v", baseVariable, err)
		}
	}
}

// A loader that does not know the constant leaves the page size of most kernels.
func TestPageSizeWithoutLoader(t *testing.T) {
	spec, err := arenaset.Spec()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := uintOf(spec.Variables[pageVariable]); got != 4096 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}

func uintOf(v *ebpf.VariableSpec) (n uint64, err error) {
	if err = v.Get(&n); err != nil {
		return 0, err
	}
	return n, nil
}
