package arenaxdp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestRequestsAreAnswered(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	r := newRunner(t, h)
	for _, key := range []string{"k", "12345678", "\x80\xff", strings.Repeat("k", container.MaxKey)} {
		for _, size := range []int{0, 1, 2, 3, 9, 10, 99, 100, 101, 102, 103, container.MaxValue} {
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

// A UDP checksum of 0 means that the datagram has none. If the computed checksum is 0, 0xffff is sent.
func TestChecksumOfZero(t *testing.T) {
	h, kv := newKV(t)
	r := newRunner(t, h)
	put(t, kv, "k", "value")
	const at = ethernetSize + 40 + 6
	sum := uint16(0)
	for range 2 {
		d := get(server6, "k")
		d.payload = framed(sum, "get k\r\n") // second round: this id makes the checksum 0
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

// change returns the packet d, changed by f.
func change(d datagram, f func(p []byte) []byte) []byte { return f(d.bytes()) }

// resum corrects the checksum of the IPv4 header.
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
	fromPort := func(d datagram, port uint16) []byte { d.fromPort = port; return d.bytes() }
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
		{"a key that is too long", get(server4, strings.Repeat("k", container.MaxKey+1)).bytes(), Counters{Others: 1}},
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
		{"IPv6 from an IPv4 address", from(good6, "::ffff:192.0.2.2"), Counters{Malformed: 1}},

		{"from the port of this server", fromPort(good4, DefaultPort), Counters{ServerPorts: 1}},
		{"from the last port that takes privileges", fromPort(good4, 1023), Counters{ServerPorts: 1}},
		{"from the port of a name server", fromPort(good6, 53), Counters{ServerPorts: 1}},
		{"from another network", from(good4, "198.51.100.1"), Counters{Sources: 1}},
		{"from another IPv6 network", from(good6, "2001:db8:0:1::1"), Counters{Sources: 1}},
		{"from the server's own address", from(good4, server4.String()), Counters{Sources: 1}},
		{"from the server's own IPv6 address", from(good6, server6.String()), Counters{Sources: 1}},
		{"from the network's broadcast address", from(good4, "192.0.2.255"), Counters{Sources: 1}},
		{"from the network itself", from(good4, "192.0.2.0"), Counters{Sources: 1}},
		{"from all routers", from(good6, "2001:db8::"), Counters{Sources: 1}},

		{"a wrong UDP checksum", change(good4, set(ethernetSize+26, 0xde, 0xad)), Counters{Checksums: 1}},
		{"a wrong UDP checksum with IPv6", change(good6, set(ethernetSize+46, 0xde, 0xad)), Counters{Checksums: 1}},
		{"a changed key", change(good4, set(ethernetSize+20+8+8+4, 'K')), Counters{Checksums: 1}},
		{"a changed frame", change(good6, set(ethernetSize+40+8, 0xff)), Counters{Checksums: 1}},
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

// An IPv4 datagram may have no UDP checksum. A datagram of a virtual device, IPv4 or IPv6, may have only
// the sum of the pseudo header.
func TestRequestsWithoutChecksumAreAnswered(t *testing.T) {
	h, kv := newKV(t)
	r := newRunner(t, h)
	put(t, kv, "k", "value")
	partial := func(d datagram) []byte {
		return be.AppendUint16(nil, uint16(pseudo(d.from, d.to, 8+len(d.payload)))) // pseudo returns a folded sum
	}
	d4, d6 := get(server4, "k"), get(server6, "k")
	for rule, packet := range map[string][]byte{
		"no checksum":                    change(d4, set(ethernetSize+26, 0, 0)),
		"a sum of the pseudo header":     change(d4, set(ethernetSize+26, partial(d4)...)),
		"one of the IPv6 pseudo header":  change(d6, set(ethernetSize+46, partial(d6)...)),
		"a source port that clients use": func() []byte { d := d4; d.fromPort = 1024; return d.bytes() }(),
	} {
		verdict, out := r.run(packet)
		d, err := parse(out)
		if verdict != xdpTx || err != nil || d.payload != framed(7, answer("k", "value")) {
			t.Errorf("%s: verdict %d, %+v, %v", rule, verdict, d, err)
		}
	}
}

// The program verifies the checksum of requests with odd and even numbers of bytes.
func TestEveryBitOfARequestIsInItsChecksum(t *testing.T) {
	h, kv := newKV(t)
	r := newRunner(t, h)
	for _, key := range []string{"k", "ke", "key", "keys", strings.Repeat("k", container.MaxKey)} {
		put(t, kv, key, "value")
		good := get(server4, key).bytes()
		for at := len(good) - len(key) - 2; at < len(good)-2; at++ {
			bad := slices.Clone(good)
			bad[at] ^= 2
			before := r.counters()
			verdict, _ := r.run(bad)
			if c := r.counters().since(before); verdict != xdpPass || c != (Counters{Checksums: 1}) {
				t.Errorf("key %q, byte %d: verdict %d, %+v", key, at, verdict, c)
			}
		}
	}
}

func TestAnswersAreNotLargerThanGrowthAllows(t *testing.T) {
	h, kv := newKV(t)
	for _, growth := range []int{1, 2, 3, defaultGrowth, maxGrowth} {
		r := newRunnerWith(t, h, Options{Growth: growth})
		for _, to := range []netip.Addr{server4, server6} {
			for size := range container.MaxValue + 1 {
				value := strings.Repeat("v", size)
				put(t, kv, "k", value)
				request := get(to, "k").bytes()
				most := ethernetSize + growth*(len(request)-ethernetSize)
				wanted := len(request) + len(answer("k", value)) - len("get k\r\n")
				before := r.counters()
				verdict, out := r.run(request)
				c := r.counters().since(before)
				if fits := wanted <= most; fits != (verdict == xdpTx) || len(out) > most || fits != (c.Large == 0) {
					t.Fatalf("growth %d, %d bytes to %s: verdict %d, %d bytes for %d, %+v", growth, size, to, verdict, len(out), len(request), c)
				}
			}
		}
	}
}

func TestAllowedNetworks(t *testing.T) {
	h, kv := newKV(t)
	put(t, kv, "k", "value")
	prefixes := func(texts ...string) (all []netip.Prefix) {
		for _, text := range texts {
			all = append(all, netip.MustParsePrefix(text))
		}
		return all
	}
	for _, tt := range []struct {
		rule  string
		allow []netip.Prefix
		from  string
		want  bool
	}{
		{"the interface's are the default", nil, "192.0.2.77", true},
		{"others are not", nil, "198.51.100.1", false},
		{"a list stands in their place", prefixes("198.51.100.0/24"), "198.51.100.1", true},
		{"and they are not in it", prefixes("198.51.100.0/24"), "192.0.2.77", false},
		{"a host", prefixes("198.51.100.1/32"), "198.51.100.1", true},
		{"its neighbour", prefixes("198.51.100.1/32"), "198.51.100.2", false},
		{"all of IPv4", prefixes("0.0.0.0/0"), "203.0.113.9", true},
		{"all of IPv4, except multicast", prefixes("0.0.0.0/0"), "224.0.0.1", false},
		{"all of IPv4 but the host itself", prefixes("0.0.0.0/0"), server4.String(), false},
		{"an own address in the list", prefixes("192.0.2.1/32"), server4.String(), false},
		{"all of IPv4 is not IPv6", prefixes("0.0.0.0/0"), "2001:db8::2", false},
		{"all of IPv6 is not IPv4", prefixes("::/0"), "203.0.113.9", false},
		{"all of IPv6", prefixes("::/0"), "2001:db8:1::9", true},
		{"an IPv6 network", prefixes("2001:db8:1::/48"), "2001:db8:1::9", true},
		{"no network", []netip.Prefix{}, "192.0.2.77", false},
	} {
		r := newRunnerWith(t, h, Options{Allow: tt.allow})
		d := get(server4, "k")
		if d.from = netip.MustParseAddr(tt.from); d.from.Is6() {
			d.to = server6
		}
		if verdict, _ := r.run(d.bytes()); tt.want != (verdict == xdpTx) {
			t.Errorf("%s: the program's verdict is %d", tt.rule, verdict)
		}
		if got := newReach(networks(), Options{Allow: tt.allow}).mayAsk(d.from); got != tt.want {
			t.Errorf("%s: the server says %t", tt.rule, got)
		}
	}
}

func (c Counters) since(o Counters) Counters {
	return Counters{
		Hits: c.Hits - o.Hits, Misses: c.Misses - o.Misses, Others: c.Others - o.Others,
		Malformed: c.Malformed - o.Malformed, Busy: c.Busy - o.Busy, Broken: c.Broken - o.Broken,
		NoRoom: c.NoRoom - o.NoRoom, Checksums: c.Checksums - o.Checksums,
		ServerPorts: c.ServerPorts - o.ServerPorts, Sources: c.Sources - o.Sources, Large: c.Large - o.Large,
	}
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

// A request for a corrupt value gets no answer.
func TestBrokenTable(t *testing.T) {
	h, kv := newKV(t)
	r := newRunner(t, h)
	put(t, kv, "k", "value")
	table, err := container.OpenTable(h, "kv")
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, table.KeySize())
	copy(key, "\x01k")
	if err := table.Update(key, ebpf.UpdateExist, func(v []byte, _ bool) { v[0] = container.MaxValue + 1 }); err != nil {
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
