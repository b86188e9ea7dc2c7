package symbol

import (
	"strings"
	"testing"
)

func TestNamesAreReadable(t *testing.T) {
	for name, want := range map[string]string{
		"do_exit": "do_exit", "": "", "_": "_", "_Z": "_Z", "_ZN": "_ZN", "runtime.mallocgc": "runtime.mallocgc", "main.(*T).M": "main.(*T).M",
		"_ZN5agent5drain4pollEPNS_4RingE":                   "agent::drain::poll",
		"_ZNSt6vectorIiSaIiEE9push_backERKi":                "std::vector<int, std::allocator<int> >::push_back",
		"_ZN5agent5drain4poll17h0123456789abcdefE":          "agent::drain::poll",
		"_RNvNtCs1234_7mycrate5drain4poll":                  "mycrate::drain::poll",
		"_RNvMs_NtCs5l0EXMQXRMU_4core3strNtB4_7Utf8Err3foo": "<core::str::Utf8Err>::foo",
	} {
		if got := readable(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	fs := []function{{addr: 0x1000, size: 0x10, name: "_ZN5agent4pollEv"}}
	if got := nameIn(fs, 0x1004, 0x1003); got != "agent::poll+0x4" {
		t.Errorf("in a stack it is %q", got)
	}
	k := Kernel{functions: fs}
	if got := k.At(0x1001); got != "agent::poll+0x1" {
		t.Errorf("as an address it is %q", got)
	}
}

func FuzzReadable(f *testing.F) {
	f.Add("_ZNSt6vectorIiSaIiEE9push_backERKi")
	f.Add("_RNvMs_NtCs5l0EXMQXRMU_4core3strNtB4_7Utf8Err3foo")
	f.Add("_ZN1fI" + strings.Repeat("S0_I", 500))
	f.Add("_R" + strings.Repeat("I", 4000))
	f.Fuzz(func(t *testing.T, name string) {
		if got := readable(name); len(got) > max(1024, len(name)) {
			t.Errorf("%d bytes of %d", len(got), len(name))
		}
	})
}
