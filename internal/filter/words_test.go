package filter

import (
	"encoding/binary"
	"net/netip"
	"os/user"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

// socket returns a type with fields that are addresses, ports, durations, errors and enums, and of which some
// have the names of functions.
func socket(t testing.TB) *decode.Set {
	u8 := &btf.Int{Name: "u8", Size: 1}
	u16 := &btf.Int{Name: "u16", Size: 2}
	s32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	state := &btf.Enum{Name: "state", Size: 4, Values: []btf.EnumValue{{Name: "ESTABLISHED", Value: 1}, {Name: "EPERM", Value: 7}}}
	in6 := &btf.Struct{Name: "in6_addr", Size: 16, Members: []btf.Member{{Name: "in6_u", Type: &btf.Union{Size: 16, Members: []btf.Member{
		{Name: "u6_addr8", Type: &btf.Array{Index: u32, Type: u8, Nelems: 16}}, {Name: "u6_addr32", Type: &btf.Array{Index: u32, Type: u32, Nelems: 4}},
	}}}}}
	var at btf.Bits
	var members []btf.Member
	add := func(name string, typ btf.Type) {
		size, err := btf.Sizeof(typ)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, btf.Member{Name: name, Type: typ, Offset: at})
		at += btf.Bits(size * 8)
	}
	add("saddr", u32)
	add("signed", s32)
	add("saddr6", in6)
	add("words", &btf.Array{Index: u32, Type: u32, Nelems: 4})
	add("bytes", &btf.Array{Index: u32, Type: u8, Nelems: 4})
	add("text", &btf.Array{Index: u32, Type: char, Nelems: 16})
	add("dport", u16)
	add("uid", u16)
	add("ret", s32)
	add("family", s32)
	add("state", state)
	add("latency_ns", u64)
	add("latency_us", u64)
	add("ip", u32)
	add("mode", &btf.Enum{Name: "mode", Size: 4, Values: []btf.EnumValue{{Name: "READ", Value: 1}, {Name: "WRITE", Value: 2}, {Name: "EXEC", Value: 8}}})
	set, err := decode.NewSet(&btf.Struct{Name: "socket", Size: uint32(at / 8), Members: members})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func socketRecord() []byte {
	four := netip.MustParseAddr("10.1.2.3").As4()
	six := netip.MustParseAddr("2001:db8::7").As16()
	b := append([]byte(nil), four[:]...)
	b = append(b, four[:]...)
	b = append(b, six[:]...)
	b = append(b, six[:]...)
	b = append(b, four[:]...)
	b = append(b, "192.168.0.9\x00\x00\x00\x00\x00"...)
	b = append(b, 0x01, 0xbb, 0, 0) // port 443, uid 0
	b = binary.LittleEndian.AppendUint32(b, 1<<32-2)
	b = binary.LittleEndian.AppendUint32(b, 10)
	b = binary.LittleEndian.AppendUint32(b, 1)
	b = binary.LittleEndian.AppendUint64(b, 1500000)
	b = binary.LittleEndian.AppendUint64(b, 1500)
	b = binary.LittleEndian.AppendUint32(b, 5)
	return binary.LittleEndian.AppendUint32(b, 9)
}

func TestWordsOfRecords(t *testing.T) {
	set, record := socket(t), socketRecord()
	for expression, want := range map[string]bool{
		`saddr == ip("10.1.2.3")`: true, `saddr == ip("10.1.2.4")`: false, `saddr != ip("10.1.2.4")`: true, `saddr in ip("10.0.0.0/8")`: true,
		`saddr in ip("10.1.2.99/24")`: true, `saddr in ip("11.0.0.0/8")`: false, `saddr not in ip("11.0.0.0/8")`: true, `data.saddr in ip("0.0.0.0/0")`: true,
		`saddr in ip("::/0")`: false, `signed in ip("10.1.0.0/16")`: true, `ip("10.0.0.0/8") == saddr`: true, `saddr in [ip("1.1.1.1"), ip("10.0.0.0/8")]`: true,
		`saddr6 == ip("2001:db8::7")`: true, `saddr6 in ip("2001:db8::/32")`: true, `saddr6.in6_u.u6_addr8 in ip("2001:db8::/32")`: true,
		`saddr6.in6_u.u6_addr32 in ip("2001:db8::/32")`: true, `saddr6 in ip("10.0.0.0/8")`: false, `words in ip("2001:db8::/64")`: true, `bytes in ip("10.0.0.0/8")`: true,
		`text in ip("192.168.0.0/16")`: true, `ip == 5 && saddr in ip("10.0.0.0/8")`: true, `ip("10.1.2.3") in [saddr, 1]`: true, `any([saddr, 3], # in ip("10.0.0.0/8"))`: true,
		`dport == port(443)`: true, `dport == port(80)`: false, `dport in [port(80), port(443)]`: true, `dport == 443`: false, `port(dport) == 443`: true, `port(dport) < 1024`: true, `port(dport) in 440..450`: true,
		`mode contains "EXEC"`: true, `mode contains WRITE`: false, `mode == READ`: false, `"WRITE" in split(mode, "|")`: false,
		`bitand(mode, READ) != 0`: true, `bitand(mode, WRITE) != 0`: false, `bitand(data.mode, EXEC) == EXEC`: true, `WRITE == bitand(mode, WRITE)`: false,
		`bitor(READ, "EXEC") == 9`: true, `bitxor(mode, 9) == 0`: true, `bitand(mode, bitor(WRITE, EXEC)) == 8`: true, `bitand(state, ESTABLISHED) == 1`: true,
		`uid == uid("root")`: true, `uid == gid("root")`: true, `uid != uid("root")`: false,
		`ret == -ENOENT`: true, `-ret in [ENOENT, EACCES]`: true, `family == AF_INET6`: true, `ret == SIGKILL`: false, `SIGKILL == 9`: true, `let EIO = 3; EIO == 3`: true,
		`state == ESTABLISHED`: true, `state != ESTABLISHED`: false, `state in [ESTABLISHED, EPERM]`: true, `data.state == ESTABLISHED`: true, `family != TCP_LISTEN`: false,
		`latency_ns > 1ms`: true, `latency_ns == 1.5ms`: true, `latency_ns == 1500us`: true, `latency_ns == 1ms500µs`: true, `latency_ns > 2ms`: false, `latency_ns in 1ms..2ms`: true,
		`1h30m == 5400s`: true, `1_000ns == 1us`: true, `500000h > 0`: true, `6000000h > 20000000000000000000`: true, `latency_ns / 1ms == 1.5`: true,
		`latency_us > 1ms`: true, `latency_us == 1500us`: true, `latency_us > 2ms`: false, `1ms < latency_us`: true, `latency_us == 1ms + 500`: true, `latency_us in 1ms..2ms`: true, `latency_us in [1ms, 1.5ms]`: true, `"1ms" == "1ms" /* 1ms */`: true,
		`text contains "1s" or true // 3ms`: true, `"\"1ms" != ""`: true, "`1ms\\` != ''": true,
	} {
		t.Run(expression, func(t *testing.T) {
			f, err := New(expression, set)
			if err != nil {
				t.Fatal(err)
			}
			matched := f.Match(1, 2, record)
			if _, err := f.Errors(); err != nil || matched != want {
				t.Errorf("%v, %v", matched, err)
			}
		})
	}
}

func TestAddressesInTheHostsOrder(t *testing.T) {
	for meaning, text := range map[decode.Meaning]string{decode.IPv4: "10.1.2.3", decode.NoMeaning: "10.1.2.3", decode.IPv4Host: "3.2.1.10"} {
		addr, err := toAddress(0x0302010a, meaning)
		if err != nil || addr.String() != text {
			t.Errorf("%v: %v, %v", meaning, addr, err)
		}
	}
	peer := map[string]any{"sin_family": 2, "sin_port": 443, "sin_addr": map[string]any{"s_addr": 0x0302010a}}
	if addr, err := toAddress(peer, decode.NoMeaning); err != nil || addr.String() != "10.1.2.3" {
		t.Errorf("%v: %v, %v", peer, addr, err)
	}
	first := []any{10, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if addr, err := toAddress(first, decode.IPAddress); err != nil || addr.String() != "10.1.2.3" {
		t.Errorf("%v, %v", addr, err)
	}
	mapped := append(make([]any, 0, 16), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 1, 2, 3)
	addr, err := toAddress(mapped, decode.IPv6)
	inside, _ := parseNetwork("10.0.0.0/8")
	if err != nil || !equal(addr, inside) {
		t.Errorf("%v, %v", addr, err)
	}
}

// What is wrong in a function, word or duration is found before the first record, and the nearest names are told.
func TestMistakesInWords(t *testing.T) {
	set := socket(t)
	for expression, cause := range map[string]string{
		`saddr in ip("10.0.0.0/33")`: `ip(): "10.0.0.0/33" is not an IP address or network (1:10)`, `saddr == ip("x")`: "is not an IP address", `saddr in ip(5)`: "cannot use int as argument",
		`saddr in ip(text)`: "ip() takes a constant", `saddr in ip()`: "not enough arguments to call ip", `saddr in ip("1.1.1.1", "2.2.2.2")`: "too many arguments to call ip",
		`uid == uid("no such user here")`: "unknown user", `uid == gid("no such group here")`: "unknown group", `dport == port(70000)`: "port(): takes a number from 0 to 65535",
		`ret == -ENOENTT`: "unknown name ENOENTT (1:9) (near: ENOENT", `ret == SIGKIL`: "(near: SIGKILL, SIGILL", `family == AF_INET7`: "(near: AF_INET, AF_INET6", `sadr == 5`: "unknown name sadr (1:1) (near: saddr, saddr6)",
		`state == ESTABLISHD`: "(near: ESTABLISHED)", `iq("1.1.1.1") == saddr`: "unknown name iq", `lenn(text) > 1`: "unknown name lenn (1:1) (near: len", `saddr6.in6 == 1`: "(near: in6_u",
		`data.sadr == 5`: "(near: saddr, saddr6)", `latency_ns > 1.5ns`: "1.5ns is not a whole number of nanoseconds", `latency_ns > 1xs`: "bad number syntax",
		`bitand(mode, NONE) != 0`: "unknown name NONE", `bitand(mode, "NONE") != 0`: "cannot use string as argument",
		`state == ENOENT`: "mismatched types", `saddr == "10.1.2.3"`: `an address is written ip("10.1.2.3")`, `text.foo("x")`: "",
	} {
		t.Run(expression, func(t *testing.T) {
			_, err := New(expression, set)
			if err == nil || !strings.Contains(err.Error(), cause) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want %s", err, cause)
			}
		})
	}
}

func TestNumbersInAnotherFormAreNoted(t *testing.T) {
	be16 := &btf.Typedef{Name: "__be16", Type: &btf.Int{Name: "unsigned short", Size: 2}}
	s32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	set, err := decode.NewSet(&btf.Struct{Name: "s", Size: 16, Members: []btf.Member{
		{Name: "dport", Type: be16}, {Name: "lport", Type: &btf.Int{Name: "u16", Size: 2}, Offset: 16}, {Name: "proto", Type: be16, Offset: 32},
		{Name: "err", Type: s32, Offset: 64}, {Name: "ret", Type: s32, Offset: 96},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const note = "dport has the port in network order: port(dport) is its number"
	for expression, want := range map[string]string{
		`dport == 443`: note, `dport in [80, 443] || dport == 1`: note, `data.dport in 1..1024`: "data.dport has the port in network order: port(data.dport) is its number",
		`proto == 8`: "proto is in network order: port(proto) is its number if it has 16 bits", `err == ENOENT`: "err is negative if it is an error: -ENOENT",
		`ret in [0, EPERM]`: "ret is negative if it is an error: -EPERM", `err == -ENOENT || err == 2 || ret == 13`: "", `-err == ENOENT`: "",
		`443 != dport`: note, `dport == port(443)`: "", `port(dport) == 443`: "", `lport == 443`: "", `dport == lport`: "",
	} {
		f, err := New(expression, set)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(f.Notes(), "; "); got != want {
			t.Errorf("%s: %q, want %q", expression, got, want)
		}
	}
}

// A value that is no address makes the filter leave the record out, and is counted.
func TestValuesThatAreNoAddress(t *testing.T) {
	set, record := socket(t), socketRecord()
	for _, expression := range []string{`port(latency_ns) == 1`, `latency_ns * 100000 in ip("0.0.0.0/0")`, `state == ip("1.1.1.1")`, `[1, 2] == ip("1.1.1.1")`, `saddr > 0 && ip("1.1.1.1") > 5`} {
		f, err := New(expression, set)
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		matched := f.Match(1, 2, record)
		if n, err := f.Errors(); matched || n != 1 || err == nil {
			t.Errorf("%s: %v, %d, %v", expression, matched, n, err)
		}
	}
}

func TestUsersAreLookedUpOnce(t *testing.T) {
	if _, err := user.Lookup("root"); err != nil {
		t.Skip(err)
	}
	f, err := New(`uid == uid("root")`, socket(t))
	if err != nil {
		t.Fatal(err)
	}
	record := socketRecord()
	if n := testing.AllocsPerRun(100, func() { f.Match(1, 2, record) }); n > 10 {
		t.Errorf("%v allocations for each record", n)
	}
}

func FuzzWords(f *testing.F) {
	set := socket(f)
	record := socketRecord()
	for _, seed := range []string{`saddr in ip("10.0.0.0/8")`, `latency_us > 1m30.5s`, `ret == -ENOENT && state == ESTABLISHED`, "'\\' 1ms `x` // 5s\n/* 1h */ uid == uid(\"root\")"} {
		f.Add(seed, record)
	}
	f.Fuzz(func(t *testing.T, expression string, record []byte) {
		if len(expression) > 200 {
			return
		}
		if flt, err := New(expression, set); err == nil {
			flt.Match(1, 8, record)
		}
	})
}

// An enumerator that has different values in two types has no number.
func TestEnumeratorsOfDifferentValues(t *testing.T) {
	enum := func(name string, a uint64) btf.Type {
		e := &btf.Enum{Name: name, Size: 4, Values: []btf.EnumValue{{Name: "A", Value: a}, {Name: "B", Value: 2}, {Name: "C", Value: 8}}}
		return &btf.Struct{Name: name, Size: 4 * uint32(a), Members: []btf.Member{{Name: "flags", Type: e}}}
	}
	set, err := decode.NewSet(enum("one", 1), enum("four", 4))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(`bitand(flags, A) != 0`, set); err == nil {
		t.Error("A is 1 and 4")
	}
	f, err := New(`bitand(flags, B) != 0`, set)
	if err != nil {
		t.Fatal(err)
	}
	matched := f.Match(1, 2, []byte{2, 0, 0, 0})
	if again := f.Match(1, 2, []byte{3, 0, 0, 0}); !matched || again {
		t.Errorf("%v, %v", matched, again)
	}
	if n, err := f.Errors(); n != 1 || err == nil || !strings.Contains(err.Error(), "A has different values") {
		t.Errorf("%d, %v", n, err)
	}
}
