package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// wordTest is a test of a word in a working directory.
type wordTest struct {
	where string
	lookupTest
}

func (tt wordTest) run(t *testing.T) {
	t.Chdir(tt.where)
	tt.lookupTest.run(t)
}

// A word without a prefix is a path if a map is pinned there, else an id if it is a number, else a name.
func TestWords(t *testing.T) {
	testenv.NoLeaks(t)
	name := func(s string) string { return fmt.Sprintf("%s%d", s, os.Getpid()) }
	dir := testenv.BPFFS(t)
	scratch := filepath.Base(dir)
	pinned := func(path, name string) *ebpf.Map {
		m := testenv.Map(t, &ebpf.MapSpec{Name: name, Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
		if path != "" {
			if err := pin.Map(m, filepath.Join(dir, path), pin.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		return m
	}
	inApp, events, other := pinned("app/ev", name("inapp")), pinned("", name("events")), pinned(name("other"), name("x"))
	number := pinned(fmt.Sprint(idOf(t, events)), name("number"))
	table := hashMap(t, name("table"))
	if err := pin.Map(table, filepath.Join(dir, name("events")), pin.Options{}); err != nil {
		t.Fatal(err)
	}
	digits := "429" + fmt.Sprintf("%07d", os.Getpid()) // larger than the ids of this host
	pinned("", digits)
	rings := []ebpf.MapType{ebpf.RingBuf}
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, name("events")), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(dir)
	for _, tt := range []wordTest{
		{files, lookupTest{"a name, although a file is called so", name("events"), rings, events, nil, ""}},
		{dir, lookupTest{"a name, although a map of another type is pinned so", name("events"), rings, events, nil, ""}},
		{dir, lookupTest{"a pin in the working directory before a name", name("events"), nil, table, nil, ""}},
		{files, lookupTest{"an id", fmt.Sprint(idOf(t, events)), rings, events, nil, ""}},
		{dir, lookupTest{"a pin in the working directory before an id", fmt.Sprint(idOf(t, events)), rings, number, nil, ""}},
		{dir, lookupTest{"a pin", name("other"), rings, other, nil, ""}},
		{dir, lookupTest{"below the working directory", "./app/../app/ev", rings, inApp, nil, ""}},
		{files, lookupTest{"below the bpffs", scratch + "/app/ev", rings, inApp, nil, ""}},
		{filepath.Join(dir, "app"), lookupTest{"above the working directory", "../" + name("other"), rings, other, nil, ""}},
		{files, lookupTest{"nothing", "qqqqqqqqq", rings, nil, ErrNotFound,
			"no such map (tried qqqqqqqqq, " + root + "/qqqqqqqqq, name:qqqqqqqqq)"}},
		{root, lookupTest{"nothing on the bpffs", "qqqqqqqqq", rings, nil, ErrNotFound,
			"no such map (tried qqqqqqqqq, name:qqqqqqqqq)"}},
		{files, lookupTest{"no id", "4294967295", rings, nil, ErrNotFound,
			"no such map (tried 4294967295, " + root + "/4294967295, id:4294967295)"}},
		{files, lookupTest{"a name that is a number", digits, rings, nil, ErrNotFound,
			fmt.Sprintf("no such map (tried %[1]s, %[2]s/%[1]s, id:%[1]s) (near: name:%[1]s)", digits, root)}},
		{files, lookupTest{"no path", scratch + "/app/qqqqqqqqq", rings, nil, ErrNotFound,
			fmt.Sprintf("no such map (tried %[1]s/app/qqqqqqqqq, %[2]s/%[1]s/app/qqqqqqqqq)", scratch, root)}},
		{files, lookupTest{"a mistyped name", name("events") + "z", rings, nil, ErrNotFound,
			fmt.Sprintf("no such map (tried %[1]sz, %[2]s/%[1]sz, name:%.15[1]sz) (near: %[1]s)", name("events"), root)}},
		{files, lookupTest{"another directory", dir + "/ev", rings, nil, ErrNotFound,
			"no such map (near: " + dir + "/app/ev)"}},
		{dir, lookupTest{"another type", name("table"), rings, nil, pin.ErrWrongType, fmt.Sprintf(
			"wrong type: it is the name of id:%d (hash, %s/%s), wanted ringbuf", idOf(t, table), dir, name("events"))}},
		{files, lookupTest{"a file", "./" + name("events"), rings, nil, pin.ErrNotBPFFS, "not on a bpffs"}},
		{dir, lookupTest{"a directory", "./app", rings, nil, pin.ErrNotPin, "not a pin: it is a directory"}},
	} {
		t.Run(tt.what, tt.run)
	}
}

// LookupAll finds what patterns match, each map once, and says of each reference why it means none.
func TestLookupAll(t *testing.T) {
	testenv.NoLeaks(t)
	name := func(s string) string { return fmt.Sprintf("%s%d", s, os.Getpid()) }
	dir := testenv.BPFFS(t)
	for _, path := range []string{"app/a", "app/b", "app/sub/c", "d"} {
		m := testenv.Map(t, &ebpf.MapSpec{Name: name(filepath.Base(path)), Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
		if err := pin.Map(m, filepath.Join(dir, path), pin.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := pin.Map(hashMap(t, name("e")), dir+"/app/e", pin.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, tt := range []struct {
		what string
		refs []string
		want []string // names without the pid
		err  error
	}{
		{"a path", []string{dir + "/app/*"}, []string{"a", "b"}, nil},
		{"directories", []string{dir + "/*/*/?"}, []string{"c"}, nil},
		{"below the bpffs", []string{filepath.Base(dir) + "/app/*"}, []string{"a", "b"}, nil},
		{"below the working directory", []string{"app/[b-z]"}, []string{"b"}, nil},
		{"in the working directory", []string{"*"}, []string{"d"}, nil},
		{"names", []string{"name:[ac]" + name("")}, []string{"a", "c"}, nil},
		{"names without a prefix", []string{"[abcd]" + name("")}, []string{"a", "b", "c", "d"}, nil},
		{"each map once", []string{"app/b", "app/*", "name:" + name("a")}, []string{"b", "a"}, nil},
		{"nothing", []string{"app/x*"}, nil, fs.ErrNotExist},
		{"only other types", []string{"app/e*"}, nil, fs.ErrNotExist},
		{"one of two", []string{"d", "qqqqqqqqq"}, nil, fs.ErrNotExist},
		{"a wrong pattern", []string{"app/[b"}, nil, ErrReference},
	} {
		t.Run(tt.what, func(t *testing.T) {
			found, err := LookupAll(tt.refs, ebpf.RingBuf)
			defer closeAll(found)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			var got, want []string
			for _, f := range found {
				got = append(got, f.Name)
			}
			for _, w := range tt.want {
				want = append(want, name(w))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
