package container

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/testenv"
)

// hasAll checks that kv has exactly the entries of want, by Get and by All.
func hasAll(t *testing.T, kv *KV, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got, err := kv.Get(k); err != nil || string(got) != v {
			t.Errorf("%q: %q, %v; want %q", k, got, err, v)
		}
	}
	n := 0
	for e, err := range kv.All() {
		if err != nil {
			t.Fatal(err)
		}
		if v, ok := want[string(e.Key)]; !ok || v != string(e.Value) {
			t.Errorf("%q: %q", e.Key, e.Value)
		}
		n++
	}
	if n != len(want) {
		t.Errorf("%d keys", n)
	}
}

func TestKV(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 4 << 20})
	kv, err := NewKV(h, "kv", 100)
	if err != nil {
		t.Fatal(err)
	}
	longest := strings.Repeat("k", MaxKey)
	want := map[string]string{
		"a": "", "a\x00": "1", "a\x00\x00": "2", longest: strings.Repeat("v", MaxValue), "key": "value\x00",
	}
	for k, v := range want {
		if err := kv.Put(k, []byte(v)); err != nil {
			t.Fatal(err)
		}
	}
	if kv, err = OpenKV(h, "kv"); err != nil {
		t.Fatal(err)
	}
	hasAll(t, kv, want)
	if err := kv.Delete("a"); err != nil {
		t.Error(err)
	}
	for what, f := range map[error]func() error{
		ErrNotFound: func() error { _, err := kv.Get("a"); return err },
		ErrTooLarge: func() error { return kv.Put(longest+"k", nil) },
		errEmptyKey: func() error { return kv.Delete("") },
		ErrFormat: func() error {
			if _, err := NewTable(h, "other", TableOptions{KeySize: 8, Capacity: 1}); err != nil {
				return err
			}
			_, err := OpenKV(h, "other")
			return err
		},
	} {
		if err := f(); !errors.Is(err, what) {
			t.Errorf("error %v, want %v", err, what)
		}
	}
	if err := kv.Put("x", make([]byte, MaxValue+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a long value: %v", err)
	}
	// Set the value's length prefix in the arena above the maximum length.
	if err := kv.t.Update(mustKey(t, "key"), ebpf.UpdateExist, func(v []byte, _ bool) { v[0], v[1] = 255, 255 }); err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Get("key"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a value that is too long: %v", err)
	}
}

func mustKey(tb testing.TB, key string) []byte {
	tb.Helper()
	k, err := kvKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}
