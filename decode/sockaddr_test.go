package decode

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestSocketAddresses(t *testing.T) {
	socket := func(name string, size uint32) *btf.Struct {
		s := structOf(size, member("sa_family", u16, 0), member("data", arrayOf(u8, size-2), 2))
		s.Name = name
		return s
	}
	in, in6, any, un := socket("sockaddr_in", 16), socket("sockaddr_in6", 28), socket("__kernel_sockaddr_storage", 128), socket("sockaddr_un", 110)
	local6 := append(append([]byte{10, 0, 0, 53, 0, 0, 0, 0}, make([]byte, 15)...), 1)
	tests := []struct {
		rule   string
		typ    *btf.Struct
		record []byte
		want   string
	}{
		{"IPv4", in, []byte{2, 0, 1, 187, 10, 0, 0, 1}, "10.0.0.1:443"},
		{"IPv4 in any", socket("sockaddr", 16), []byte{2, 0, 1, 187, 10, 0, 0, 1}, "10.0.0.1:443"},
		{"IPv6", in6, local6, "[::1]:53"},
		{"IPv6 with a zone", in6, append(bytes.Clone(local6), 3), "[::1%3]:53"},
		{"IPv6 in storage", any, local6, "[::1]:53"},
		{"IPv6 without room", in, local6[:16], "hex:0a000035000000000000000000000000"},
		{"a path", un, append([]byte{1, 0}, "/run/a b\x00old"...), `"/run/a b"`},
		{"an abstract name", un, append([]byte{1, 0, 0}, "bus"...), "@bus"},
		{"no path", un, []byte{1, 0}, `""`},
		{"an escape sequence", socket("sockaddr", 16), append([]byte{1, 0}, "a\x1b[2J"...), "hex:0100611b5b324a000000000000000000"},
		{"nothing", any, nil, "unspec"},
		{"another family", socket("sockaddr_nl", 16), []byte{16, 0, 1}, "hex:10000100000000000000000000000000"},
		{"another struct of a program", socket("sockaddress", 8), []byte{2}, "{sa_family=2 data=[0,0,0,0,0,0]}"},
		{"another layout", func() *btf.Struct {
			s := structOf(16, member("when", u64, 0), member("x", u64, 8))
			s.Name = "sockaddr_log"
			return s
		}(), []byte{2}, "{when=2 x=0}"},
	}
	for _, tt := range tests {
		c, err := New(structOf(tt.typ.Size*2+4, member("peer", tt.typ, 0), member("both", arrayOf(tt.typ, 1), tt.typ.Size), member("n", u32, 2*tt.typ.Size)))
		if err != nil {
			t.Fatal(err)
		}
		record := append(append(bytes.Clone(tt.record), make([]byte, int(tt.typ.Size)-len(tt.record))...), make([]byte, tt.typ.Size+4)...)
		copy(record[tt.typ.Size:], tt.record)
		got, err := c.Printer(PrintOptions{}).AppendText(nil, record)
		if want := "peer=" + tt.want + " both=[" + tt.want + "] n=0"; string(got) != want || err != nil {
			t.Errorf("%s: got %s, %v, want %s", tt.rule, got, err, want)
		}
		if got, err := c.AppendJSON(nil, record); err != nil || !strings.HasPrefix(string(got), `{"peer":{"`) {
			t.Errorf("%s: JSON %s, %v", tt.rule, got, err)
		}
	}
}

// A struct that text shows as one value is not read beyond the end of a record, also if it ends with an array within
// which other records can end.
func TestACutAddressIsNotRead(t *testing.T) {
	in6 := structOf(16, member("s6_addr", arrayOf(u8, 16), 0))
	in6.Name = "in6_addr"
	socket := structOf(16, member("sa_family", u16, 0), member("data", arrayOf(u8, 14), 2))
	socket.Name = "sockaddr"
	for _, typ := range []*btf.Struct{in6, socket} {
		record := []byte{1, 2}
		c, err := New(structOf(20, member("n", u32, 0), member("peer", typ, 4)))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.Printer(PrintOptions{}).AppendText(nil, append(make([]byte, 4), record...)); !errors.Is(err, ErrShort) {
			t.Errorf("%s: %q, %v", typ.Name, got, err)
		}
		c = codecOf(t, structOf(20, member("n", u32, 0), member("peer", typ, 4)), Options{Prefix: true})
		if got, err := c.Printer(PrintOptions{}).AppendText(nil, append(make([]byte, 4), record...)); err != nil || string(got) != "n=0" {
			t.Errorf("%s, cut: %q, %v", typ.Name, got, err)
		}
	}
}
