package decode

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestKernelTypes decodes random bytes with every type of the running kernel.
func TestKernelTypes(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 64<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	var out []byte
	var done, refused int
	for typ, err := range spec.All() {
		if err != nil {
			t.Fatal(err)
		}
		if keywordOf(typ) == "" {
			continue
		}
		d, err := New(typ)
		if err != nil {
			// The kernel's BTF has incomplete types, but no invalid types.
			if !errors.Is(err, errUnsized) {
				t.Error(err)
			}
			refused++
			continue
		}
		done++
		if d.Size() > len(noise) {
			continue
		}
		record := noise[:d.Size()]
		if out, err = d.AppendJSON(out[:0], record); err != nil || !json.Valid(out) {
			t.Fatalf("%s: %v\n%s", d.Name(), err, out)
		}
		if out, err = d.AppendText(out[:0], record); err != nil || bytes.ContainsAny(out, "\n\x1b") {
			t.Fatalf("%s: %v\n%s", d.Name(), err, out)
		}
	}
	if done < 1000 {
		t.Errorf("%d types decoded, %d refused: this is no kernel", done, refused)
	}
	t.Logf("%d types decoded, %d refused", done, refused)
}

func TestKernelBitfields(t *testing.T) {
	spec, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	typ, err := Find(spec, "struct iphdr")
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(typ)
	if err != nil {
		t.Fatal(err)
	}
	header := []byte{0x45, 0, 0, 20, 1, 0, 0, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2}
	out, err := d.AppendJSON(nil, header)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Ihl, Version, TTL, Protocol int }
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if got.Ihl != 5 || got.Version != 4 || got.TTL != 64 || got.Protocol != 6 {
		t.Errorf("%s", out)
	}
}
