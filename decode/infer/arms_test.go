package infer

import (
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// armed is a site that sets the kind of a record to a constant and writes the named members.
func armed(t btf.Type, kind uint64, named ...placed) *Site {
	s := sized(t, 24, 24, stores(0, kind)...)
	s.named = map[placed]bool{}
	for _, p := range named {
		s.named[p] = true
	}
	return s
}

func TestSitesTellTheMemberOfAUnion(t *testing.T) {
	file := &btf.Struct{Name: "file", Size: 16, Members: []btf.Member{member("inode", u64, 0), member("mode", u32, 8)}}
	sock := &btf.Struct{Name: "sock", Size: 16, Members: []btf.Member{member("inode", u64, 0), member("port", u32, 8)}}
	with := func(name string) btf.Type {
		u := &btf.Union{Size: 16, Members: []btf.Member{member("f", file, 0), member("s", sock, 0)}}
		return &btf.Struct{Name: "event", Size: 24, Members: []btf.Member{member("id", u32, 0), member("pid", u32, 4), member(name, u, 8)}}
	}
	inF, inS, both := placed{"f", 8}, placed{"port", 16}, placed{"inode", 8}
	one := `{"id":1,"pid":0,"f":{"inode":0,"mode":0}}`
	two := `{"id":2,"pid":0,"s":{"inode":0,"port":0}}`
	all := `{"id":%,"pid":0,"f":{"inode":0,"mode":0},"s":{"inode":0,"port":0}}`
	typ, named := with(""), with("u")
	nameless := armed(typ, 1)
	nameless.flow.Writes = append(nameless.flow.Writes, helperAt(8, 8))
	for name, test := range map[string]struct {
		sites []*Site
		want  map[uint32]string
	}{
		"by names": {[]*Site{armed(typ, 1, inF), armed(typ, 2, inS)}, map[uint32]string{1: one, 2: two, 3: all}},
		"by names that two have": {[]*Site{armed(typ, 1, inF), armed(typ, 2, inS), armed(typ, 3, both)},
			map[uint32]string{1: one, 2: two, 3: all}},
		"by all sites that write one":          {[]*Site{armed(typ, 1, inF), armed(typ, 1), armed(typ, 2, inS)}, map[uint32]string{1: one, 2: two}},
		"not by one that writes without names": {[]*Site{armed(typ, 1, inF), nameless, armed(typ, 2, inS)}, map[uint32]string{1: all, 2: two}},
		"by one site only":                     {[]*Site{armed(typ, 1, inF), armed(typ, 2)}, map[uint32]string{1: all, 2: all}},
		"by names of both":                     {[]*Site{armed(typ, 1, inF), armed(typ, 2, inF, inS)}, map[uint32]string{1: all, 2: all}},
		"by one kind for both":                 {[]*Site{armed(typ, 1, inF), armed(typ, 1, inS), armed(typ, 2, inS)}, map[uint32]string{1: all, 2: two}},
		"of a field": {[]*Site{armed(named, 1, placed{"u", 8}, inF), armed(named, 2, placed{"u", 8}, inS)},
			map[uint32]string{1: `{"id":1,"pid":0,"u":{"f":{"inode":0,"mode":0}}}`}},
	} {
		t.Run(name, func(t *testing.T) { checkJSON(t, test.sites, test.want, all) })
	}
	unknown := armed(typ, 2, inS)
	unknown.flow.Writes = []recordflow.Write{helperAt(0, 4)}
	checkJSON(t, []*Site{armed(typ, 1, inF), armed(typ, 2, inS), unknown}, map[uint32]string{1: all}, all)
}

// checkJSON decodes a record of each kind. In all, % stands for the kind.
func checkJSON(t *testing.T, sites []*Site, want map[uint32]string, all string) {
	t.Helper()
	r := &Result{Sites: sites}
	r.combine()
	for kind, text := range want {
		if text == all {
			text = all[:6] + string(rune('0'+kind)) + all[7:]
		}
		d, err := r.Set.Codec([]byte(record(kind, 24)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := d.AppendJSON(nil, []byte(record(kind, 24))); string(got) != text {
			t.Errorf("kind %d: %s, %v\nwant %s", kind, got, err, text)
		}
	}
}
