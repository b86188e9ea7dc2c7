package innermap

import (
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// An entry can be replaced or deleted after its id was looked up and before its map is opened.
func TestTheMapThatIsUnderTheKeyNowIsOpened(t *testing.T) {
	testenv.NoLeaks(t)
	outer := testenv.Map(t, &ebpf.MapSpec{
		Type: ebpf.HashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize},
	})
	key := make([]byte, 4)
	put := func() ebpf.MapID {
		m := testenv.Ring(t, testenv.PageSize)
		if err := outer.Put(key, m); err != nil {
			t.Fatal(err)
		}
		info, err := m.Info()
		if err != nil {
			t.Fatal(err)
		}
		id, _ := info.ID()
		m.Close() // the outer map has the only reference
		return id
	}
	open := func(id ebpf.MapID) (ebpf.MapID, error) {
		m, now, err := Open(outer, key, id)
		if err == nil {
			m.Close()
		}
		return now, err
	}
	first := put()
	if id, err := open(first); id != first || err != nil {
		t.Errorf("opened id %d, %v; want %d", id, err, first)
	}
	second := put()
	if id, err := open(first); id != second || err != nil {
		t.Errorf("once it was replaced, opened id %d, %v; want %d", id, err, second)
	}
	if err := outer.Delete(key); err != nil {
		t.Fatal(err)
	}
	if _, err := open(second); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("once it was removed: error %v", err)
	}
}

func TestEntries(t *testing.T) {
	testenv.NoLeaks(t)
	for _, typ := range []ebpf.MapType{ebpf.ArrayOfMaps, ebpf.HashOfMaps} {
		outer := testenv.Map(t, &ebpf.MapSpec{
			Type: typ, KeySize: 4, ValueSize: 4, MaxEntries: 4, InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize},
		})
		for _, key := range []uint32{1, 3} {
			if err := outer.Put(key, testenv.Ring(t, testenv.PageSize)); err != nil {
				t.Fatal(err)
			}
		}
		entries, err := Entries(outer)
		if err != nil || len(entries) != 2 || entries[0].ID == entries[1].ID {
			t.Fatalf("%s: %+v, %v", typ, entries, err)
		}
		for _, e := range entries {
			m, id, err := Open(outer, e.Key, e.ID)
			if err != nil || id != e.ID || m.Type() != ebpf.RingBuf {
				t.Errorf("%s: map %d, %v", typ, id, err)
			}
			m.Close()
		}
	}
}
