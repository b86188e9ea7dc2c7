package consumer

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/testenv"
)

// An entry can be replaced or deleted after its id was looked up and before its ring is opened.
func TestTheRingThatIsUnderTheKeyNowIsOpened(t *testing.T) {
	testenv.NoLeaks(t)
	outer := testenv.Map(t, &ebpf.MapSpec{
		Type: ebpf.HashOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: 4096},
	})
	key := make([]byte, 4)
	put := func() ebpf.MapID {
		m := testenv.Ring(t, 4096)
		if err := outer.Put(key, m); err != nil {
			t.Fatal(err)
		}
		id, err := mapID(m)
		if err != nil {
			t.Fatal(err)
		}
		m.Close() // the outer map has the only reference
		return id
	}
	open := func(id ebpf.MapID) (ebpf.MapID, error) {
		m, now, err := openInner(outer, key, id)
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
