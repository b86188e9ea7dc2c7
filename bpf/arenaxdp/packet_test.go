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

func TestOthersPassUnchanged(t *testing.T) {
	testenv.NoLeaks(t)
	h, kv := newKV(t)
	r := newRunner(t, h)
	for _, key := range []string{"k", "a b", "a\tb", "a\x7f"} {
		put(t, kv, key, "value")
	}
	for _, tt := range slices.Concat(unanswerable(), foreign(), malformed(), refused()) {
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
	var r *runner
	var loaded []netip.Prefix // by r
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
		if r == nil || !slices.Equal(tt.allow, loaded) { // loading takes long
			r, loaded = newRunnerWith(t, h, Options{Allow: tt.allow}), tt.allow
		}
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
