package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

type lookupTest struct {
	what, ref string
	types     []ebpf.MapType
	m         *ebpf.Map
	want      error
	cause     string
}

func (tt lookupTest) run(t *testing.T) {
	m, err := Lookup(tt.ref, tt.types...)
	if tt.want == nil {
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if idOf(t, m) != idOf(t, tt.m) {
			t.Errorf("found map %d, want %d", idOf(t, m), idOf(t, tt.m))
		}
		return
	}
	if !errors.Is(err, tt.want) {
		t.Errorf("got error %v, want one matching %v", err, tt.want)
	}
	if want := fmt.Sprintf("find map %q: %s", tt.ref, tt.cause); err.Error() != want {
		t.Errorf("got message\n\t%s\nwant\n\t%s", err, want)
	}
	if tt.want == ErrNotFound && !errors.Is(err, fs.ErrNotExist) {
		t.Error("not an fs.ErrNotExist")
	}
}

func TestLookup(t *testing.T) {
	testenv.NoLeaks(t)
	// name returns a name that maps of other processes do not have.
	name := func(s string) string { return fmt.Sprintf("%s%d", s, os.Getpid()) }
	newRing := func(s string) *ebpf.Map {
		return testenv.Map(t, &ebpf.MapSpec{Name: name(s), Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	}
	dir := testenv.BPFFS(t)
	ring, double, other, hash, mixed := newRing("ring"), newRing("dbl"), newRing("dbl"), hashMap(t, name("hash")), newRing("mix")
	mixedHash := hashMap(t, name("mix"))
	long := (name("long") + "_abcdefghijklmn")[:nameLen]
	cut := testenv.Map(t, &ebpf.MapSpec{Name: long, Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	if err := pin.Map(ring, dir+"/ring", pin.Options{}); err != nil {
		t.Fatal(err)
	}
	gone := newRing("gone")
	goneID := idOf(t, gone)
	gone.Close()
	rings := []ebpf.MapType{ebpf.RingBuf, ebpf.UserRingbuf}

	const notRef = "not a reference to a map (a path, an id or a name; also id:NUMBER, name:NAME)"
	for _, tt := range []lookupTest{
		{"a path", dir + "/ring", rings, ring, nil, ""},
		{"an id", fmt.Sprint("id:", idOf(t, ring)), rings, ring, nil, ""},
		{"a name", "name:" + name("ring"), rings, ring, nil, ""},
		{"any type", "name:" + name("hash"), nil, hash, nil, ""},
		{"a name that is cut to 15 bytes", "name:" + long + "_and_more", rings, cut, nil, ""},
		{"a name that a map of another type has too", "name:" + name("mix"), rings, mixed, nil, ""},

		{"a path to nothing", dir + "/nothing", rings, nil, ErrNotFound, "no such map"},
		{"an id of nothing", fmt.Sprint("id:", goneID), rings, nil, ErrNotFound, "no such map"},
		{"the largest id", "id:4294967295", rings, nil, ErrNotFound, "no such map"},
		{"id 0", "id:0", rings, nil, ErrNotFound, "no such map"},
		{"a name of nothing", "name:qqqqqqqqq", rings, nil, ErrNotFound, "no such map"},

		{"an ambiguous name", "name:" + name("dbl"), rings, nil, ErrAmbiguous,
			fmt.Sprintf("several maps have this name: id:%d (ringbuf), id:%d (ringbuf)", idOf(t, double), idOf(t, other))},
		{"an ambiguous name, for any type", "name:" + name("mix"), nil, nil, ErrAmbiguous,
			fmt.Sprintf("several maps have this name: id:%d (ringbuf), id:%d (hash)", idOf(t, mixed), idOf(t, mixedHash))},

		{"an id of another type", fmt.Sprint("id:", idOf(t, hash)), rings, nil, pin.ErrWrongType,
			"wrong type: it is a map of type hash, wanted ringbuf or user_ringbuf"},
		{"a name of another type", "name:" + name("hash"), rings, nil, pin.ErrWrongType,
			fmt.Sprintf("wrong type: it is the name of id:%d (hash), wanted ringbuf or user_ringbuf", idOf(t, hash))},
		{"a path of another type", dir + "/ring", []ebpf.MapType{ebpf.Arena}, nil, pin.ErrWrongType,
			"wrong type: it is a map of type ringbuf, wanted arena"},
		{"a directory", dir, nil, nil, pin.ErrNotPin, "not a pin: it is a directory"},
		{"not on a bpffs", "/etc/passwd", nil, nil, pin.ErrNotBPFFS, "not on a bpffs"},

		{"nothing", "", nil, nil, ErrReference, notRef},
		{"no id", "id:", nil, nil, ErrReference, notRef},
		{"a bad id", "id:12x", nil, nil, ErrReference, notRef},
		{"a negative id", "id:-1", nil, nil, ErrReference, notRef},
		{"too large an id", "id:4294967296", nil, nil, ErrReference, notRef},
		{"no name", "name:", nil, nil, ErrReference, notRef},
	} {
		t.Run(tt.what, tt.run)
	}
}
