package arenaxdp

import (
	"errors"
	"strings"
	"fmt"
	"github.com/cilium/ebpf"
	"net/netip"
	"testing"

	"github.com/rbtool/rbtool/arena"
)

func TestX(t *testing.T) {
	a, err := arena.Create(arena.Options{Size: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	h, err := a.Format()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := arena.NewKV(h, "kv", 100); err != nil {
		t.Fatal(err)
	}
	c, err := load(h, "kv", Options{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	if err != nil {
		t.Fatal(fmt.Sprintf("%+v", func() string { var v *ebpf.VerifierError; if errors.As(err, &v) { l := v.Log; if len(l) > 60 { l = l[len(l)-60:] }; return strings.Join(l, "\n") }; return err.Error() }()))
	}
	c.Close()
}
