package kallsyms

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

const symbols = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t local
ffffffff81000200 W weak
ffffffff81000300 d data
0000000000000000 T hidden
bpf_hostile
zzzzzzzz00000000 T strange

 T nameless
ffffffffc0000000 t in_module	[module]
ffffffffc0000010 t unfinished	[
ffffffffc0000020 T last`

func TestFunctions(t *testing.T) {
	var got []string
	for f, err := range Functions(strings.NewReader(symbols)) {
		if err != nil {
			t.Fatal(err)
		}
		addr, ok := f.Address()
		got = append(got, fmt.Sprintf("%x %v %s %s", addr, ok, f.Name, f.Module))
	}
	want := []string{
		"ffffffff81000000 true _stext ", "ffffffff81000100 true local ", "ffffffff81000200 true weak ", "0 false hidden ",
		"0 false strange ", "0 false nameless ",
		"ffffffffc0000000 true in_module module", "ffffffffc0000010 true unfinished ", "ffffffffc0000020 true last ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for f := range Functions(strings.NewReader(symbols)) {
		if string(f.Name) != "_stext" {
			t.Errorf("%s is read although the first was enough", f.Name)
		}
		break
	}
}

func TestSymbolsThatCannotBeRead(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct{ err, want error }{
		"a broken file":   {last(iotest.ErrReader(broken)), broken},
		"an endless line": {last(strings.NewReader(strings.Repeat("f", 1<<20))), nil},
	} {
		if test.err == nil || test.want != nil && !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v", name, test.err)
		}
	}
}

// last returns the error that ends the functions in r.
func last(r interface{ Read([]byte) (int, error) }) (last error) {
	for _, err := range Functions(r) {
		last = err
	}
	return last
}

func TestTheRunningKernel(t *testing.T) {
	f, err := os.Open(Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for f, err := range Functions(f) {
		if err != nil {
			t.Fatal(err)
		}
		if string(f.Name) == "do_exit" && f.Module == nil {
			return
		}
	}
	t.Error("no do_exit")
}

func FuzzFunctions(f *testing.F) {
	f.Add(symbols)
	f.Fuzz(func(t *testing.T, text string) {
		for f, err := range Functions(strings.NewReader(text)) {
			if err == nil && len(f.Name) == 0 {
				t.Error("a function without a name")
			}
			f.Address()
		}
	})
}
