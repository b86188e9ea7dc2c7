package arenaxdp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestRequestsAreAnswered(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	r := newRunner(t, h)
	for _, key := range []string{"k", "12345678", "\x80\xff", strings.Repeat("k", arena.MaxKey)} {
		for _, size := range []int{0, 1, 2, 3, 9, 10, 99, 100, 101, 102, 103, arena.MaxValue} {
			value := strings.Repeat("v\x00\r\n", 64)[:size]
			put(t, kv, key, value)
			for _, to := range []netip.Addr{server4, server6} {
				for _, padding := range []int{0, 1, 20} {
					request := get(to, key)
					verdict, out := r.run(append(request.bytes(), make([]byte, padding)...))
					if verdict != xdpTx {
						t.Fatalf("key %q, %d bytes, to %s: verdict %d", key, size, to, verdict)
					}
					got, err := parse(out)
					if err != nil {
						t.Fatalf("key %q, %d bytes, to %s: %v", key, size, to, err)
					}
					want := datagram{request.to, request.from, request.toPort, request.fromPort, framed(7, answer(key, value))}
					if got != want {
						t.Errorf("key %q, %d bytes, to %s:\n got %+v\nwant %+v", key, size, to, got, want)
					}
				}
			}
		}
	}
	if diff := cmp.Diff(Counters{Hits: 4 * 12 * 2 * 3}, r.counters()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

// A checksum of 0 says that there is none: the sum that is 0 is sent as 0xffff.
func TestChecksumOfZero(t *testing.T) {
	h, kv := newKV(t)
	r := newRunner(t, h)
	put(t, kv, "k", "value")
	const at = ethernetSize + 40 + 6
	sum := uint16(0)
	for range 2 {
		d := get(server6, "k")
		d.payload = framed(sum, "get k\r\n") // in the sum, and all else is as it was: makes it 0
		_, out := r.run(d.bytes())
		if _, err := parse(out); err != nil {
			t.Fatal(err)
		}
		sum = be.Uint16(out[at:])
	}
	if sum != 0xffff {
		t.Errorf("the checksum is %#x", sum)
	}
}

// change is a packet that was made wrong.
func change(d datagram, f func(p []byte) []byte) []byte { return f(d.bytes()) }

// resum mends the checksum of the IPv4 header.
func resum(p []byte) []byte {
	ip := p[ethernetSize : ethernetSize+20]
	ip[10], ip[11] = 0, 0
	be.PutUint16(ip[10:], ^checksum(ip, 0))
	return p
}

func set(at int, values ...byte) func([]byte) []byte {
	return func(p []byte) []byte { copy(p[at:], values); return p }
}

func setIPv4(at int, values ...byte) func([]byte) []byte {
	return func(p []byte) []byte { return resum(set(ethernetSize+at, values...)(p)) }
}

func with(d datagram, text string) datagram { d.payload = text; return d }

func TestOthersPassUnchanged(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	r := newRunner(t, h)
	put(t, kv, "k", "value")
	put(t, kv, "a b", "value")
	put(t, kv, "a\tb", "value")
	put(t, kv, "a\x7f", "value")
	good4, good6 := get(server4, "k"), get(server6, "k")
	elsewhere, port := good4, good4
	elsewhere.to, port.toPort = netip.MustParseAddr("192.0.2.3"), 11212
	noPort, elsewhere6 := good4, good6
	noPort.fromPort = 0
	elsewhere6.to = netip.MustParseAddr("2001:db8::3")
	from := func(d datagram, addr string) []byte { d.from = netip.MustParseAddr(addr); return d.bytes() }
	tests := []struct {
		rule   string
		packet []byte
		want   Counters
	}{
		{"a key that is not there", get(server4, "absent").bytes(), Counters{Misses: 1}},
		{"the same by IPv6", get(server6, "absent").bytes(), Counters{Misses: 1}},
		{"a key that begins like one that is there", get(server4, "k\x01"[:1]+"k").bytes(), Counters{Misses: 1}},

		{"another command", with(good4, framed(1, "set k 0 0 1\r\n")).bytes(), Counters{Others: 1}},
		{"an upper case command", with(good4, framed(1, "GET k\r\n")).bytes(), Counters{Others: 1}},
		{"two keys", get(server4, "a b").bytes(), Counters{Others: 1}},
		{"a key with a tab", get(server4, "a\tb").bytes(), Counters{Others: 1}},
		{"a key with a control character", get(server4, "a\x7f").bytes(), Counters{Others: 1}},
		{"no key", get(server4, "").bytes(), Counters{Others: 1}},
		{"a key that is too long", get(server4, strings.Repeat("k", arena.MaxKey+1)).bytes(), Counters{Others: 1}},
		{"a payload that is far too long", get(server4, strings.Repeat("k", 1300)).bytes(), Counters{Others: 1}},
		{"no end of the line", with(good4, framed(1, "get k\r\r")).bytes(), Counters{Others: 1}},
		{"an end of the line of one byte", with(good4, framed(1, "get k \n")).bytes(), Counters{Others: 1}},
		{"a second datagram", with(good4, "\x00\x01\x00\x01\x00\x01\x00\x00get k\r\n").bytes(), Counters{Others: 1}},
		{"one of two datagrams", with(good4, "\x00\x01\x00\x00\x00\x02\x00\x00get k\r\n").bytes(), Counters{Others: 1}},
		{"a frame alone", with(good4, framed(1, "")).bytes(), Counters{Others: 1}},
		{"less than a frame", with(good4, "abc").bytes(), Counters{Others: 1}},
		{"no payload", with(good4, "").bytes(), Counters{Others: 1}},

		{"another address", elsewhere.bytes(), Counters{}},
		{"another IPv6 address", elsewhere6.bytes(), Counters{}},
		{"another port", port.bytes(), Counters{}},
		{"another MAC", change(good4, set(0, 2, 0, 0, 0, 0, 3)), Counters{}},
		{"to all MACs", change(good4, set(0, 255, 255, 255, 255, 255, 255)), Counters{}},
		{"TCP", change(good4, setIPv4(9, 6)), Counters{}},
		{"a first fragment", change(good4, setIPv4(6, 0x20, 0)), Counters{}},
		{"a later fragment", change(good4, setIPv4(6, 0, 1)), Counters{}},
		{"IPv4 options", change(good4, setIPv4(0, 0x46)), Counters{}},
		{"another version of IP", change(good4, setIPv4(0, 0x55)), Counters{}},
		{"an IPv6 extension", change(good6, set(ethernetSize+6, 0)), Counters{}},
		{"an IPv6 fragment", change(good6, set(ethernetSize+6, 44)), Counters{}},
		{"ARP", change(good4, set(12, 8, 6)), Counters{}},
		{"a VLAN", change(good4, set(12, 0x81, 0)), Counters{}},

		{"a wrong IPv4 checksum", change(good4, set(ethernetSize+10, 0xde, 0xad)), Counters{Malformed: 1}},
		{"an IPv4 length beyond the packet", change(good4, setIPv4(2, 0, 200)), Counters{Malformed: 1}},
		{"an IPv4 length below its header", change(good4, setIPv4(2, 0, 19)), Counters{Malformed: 1}},
		{"an IPv4 length without the payload", change(good4, setIPv4(2, 0, 28)), Counters{Malformed: 1}},
		{"a UDP length beyond IPv4's", change(good4, set(ethernetSize+24, 0, 24)), Counters{Malformed: 1}},
		{"a UDP length below its header", change(good4, set(ethernetSize+24, 0, 7)), Counters{Malformed: 1}},
		{"a UDP length of 0", change(good4, set(ethernetSize+24, 0, 0)), Counters{Malformed: 1}},
		{"an IPv6 length beyond the packet", change(good6, set(ethernetSize+4, 0, 200)), Counters{Malformed: 1}},
		{"an IPv6 length of 0", change(good6, set(ethernetSize+4, 0, 0)), Counters{Malformed: 1}},
		{"both lengths beyond the packet", change(good6, func(p []byte) []byte {
			return set(ethernetSize+44, 0, 200)(set(ethernetSize+4, 0, 200)(p))
		}), Counters{Malformed: 1}},
		{"IPv6 in name only", change(good6, set(ethernetSize, 0x40)), Counters{Malformed: 1}},
		{"IPv6 without a checksum", change(good6, set(ethernetSize+46, 0, 0)), Counters{Malformed: 1}},
		{"from no port", noPort.bytes(), Counters{Malformed: 1}},
		{"from a group's MAC", change(good4, set(6, 1)), Counters{Malformed: 1}},
		{"from 0.0.0.0", from(good4, "0.0.0.0"), Counters{Malformed: 1}},
		{"from loopback", from(good4, "127.0.0.1"), Counters{Malformed: 1}},
		{"from multicast", from(good4, "224.0.0.1"), Counters{Malformed: 1}},
		{"from broadcast", from(good4, "255.255.255.255"), Counters{Malformed: 1}},
		{"from ::", from(good6, "::"), Counters{Malformed: 1}},
		{"from ::1", from(good6, "::1"), Counters{Malformed: 1}},
		{"from IPv6 multicast", from(good6, "ff02::1"), Counters{Malformed: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			before := r.counters()
			verdict, out := r.run(tt.packet)
			if verdict != xdpPass || !slices.Equal(out, tt.packet) {
				t.Errorf("verdict %d:\n got %x\nwant %x", verdict, out, tt.packet)
			}
			if diff := cmp.Diff(tt.want, r.counters().since(before)); diff != "" {
				t.Errorf("counters (-want +got):\n%s", diff)
			}
		})
	}
}

func (c Counters) since(o Counters) Counters {
	return Counters{c.Hits - o.Hits, c.Misses - o.Misses, c.Others - o.Others, c.Malformed - o.Malformed, c.Busy - o.Busy, c.Broken - o.Broken, c.NoRoom - o.NoRoom}
}

func TestCutPacketsPassUnchanged(t *testing.T) {
	h, kv := newKV(t)
	r := newRunner(t, h)
	put(t, kv, "key", "value")
	for _, to := range []netip.Addr{server4, server6} {
		whole := get(to, "key").bytes()
		for n := ethernetSize; n < len(whole); n++ {
			if verdict, out := r.run(whole[:n]); verdict != xdpPass || !slices.Equal(out, whole[:n]) {
				t.Errorf("the first %d bytes: verdict %d, %x", n, verdict, out)
			}
		}
	}
}

// What is in the table cannot be right: nothing is answered from it.
func TestBrokenTable(t *testing.T) {
	h, kv := newKV(t)
	r := newRunner(t, h)
	put(t, kv, "k", "value")
	key := make([]byte, kv.Table().KeySize())
	copy(key, "\x01k")
	if err := kv.Table().Update(key, arena.Exist, func(v []byte, _ bool) { v[0] = arena.MaxValue + 1 }); err != nil {
		t.Fatal(err)
	}
	request := get(server4, "k").bytes()
	if verdict, out := r.run(request); verdict != xdpPass || !slices.Equal(out, request) {
		t.Errorf("verdict %d, %x", verdict, out)
	}
	if diff := cmp.Diff(Counters{Broken: 1}, r.counters()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func FuzzPacket(f *testing.F) {
	h, kv := newKV(f)
	r := newRunner(f, h)
	put(f, kv, "k", "value")
	put(f, kv, "key", strings.Repeat("v", 200))
	for _, to := range []netip.Addr{server4, server6} {
		for _, key := range []string{"k", "key", "absent"} {
			f.Add(get(to, key).bytes())
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) < ethernetSize || len(packet) > 1500 {
			return
		}
		r := &runner{t, r.c}
		before := r.counters()
		verdict, out := r.run(packet)
		c := r.counters().since(before)
		switch verdict {
		case xdpPass:
			if !slices.Equal(out, packet) || c.Hits != 0 {
				t.Errorf("%x passes as %x", packet, out)
			}
		case xdpTx:
			d, err := parse(append(slices.Clone([]byte("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01")), out[12:]...))
			key, _, ok := strings.Cut(strings.TrimPrefix(d.payload[min(8, len(d.payload)):], "VALUE "), " ")
			value, gerr := kv.Get(key)
			if err != nil || !ok || gerr != nil || d.payload[8:] != answer(key, string(value)) || c.Hits != 1 {
				t.Errorf("%x is answered with %x: %v, %v", packet, out, err, gerr)
			}
			if to := d.from; to != server4 && to != server6 || d.fromPort != DefaultPort {
				t.Errorf("%x is answered from %s, port %d", packet, to, d.fromPort)
			}
		default:
			t.Errorf("%x: verdict %d", packet, verdict)
		}
	})
}
