package cstruct

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/testenv"
)

// compile compiles a text for the target bpf and returns the types of its BTF. For each struct, the text needs
// a variable, without which clang omits the struct.
func compile(t *testing.T, text string) *btf.Spec {
	t.Helper()
	clang, err := exec.LookPath("clang-19")
	if err != nil {
		testenv.SkipWithout(t, "clang", err)
	}
	source, object := filepath.Join(t.TempDir(), "t.c"), filepath.Join(t.TempDir(), "t.o")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(clang, "-target", "bpf", "-g", "-O2", "-w", "-c", source, "-o", object).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
	spec, err := btf.LoadSpec(object)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// agree compares the layout of each struct with clang's.
func agree(t *testing.T, text string, names ...string) {
	t.Helper()
	var b strings.Builder
	for _, src := range sources("t.h", text, nil)[:1] {
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(src.Value.(string), needed, ""), "#define __bpf__ 1\n#define __BPF__ 1\n", ""))
	}
	b.WriteString(text)
	for _, name := range names {
		fmt.Fprintf(&b, "struct %s *use_%s;\n", name, name)
	}
	spec := compile(t, b.String())
	f, err := Parse("t.h", text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		got, err := f.Type("struct " + name)
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		var want *btf.Struct
		if err := spec.TypeByName(name, &want); err != nil {
			t.Fatal(err)
		}
		if layout(got) != layout(want) {
			t.Errorf("%s: %s\nclang: %s", name, layout(got), layout(want))
		}
	}
}

func TestLayoutsAreClangs(t *testing.T) {
	agree(t, `
enum small { A, B };
enum wide { C = 0x100000000ULL, D };
enum negative { E = -1, F };
enum predicate { G = sizeof(long), H };
typedef struct { u8 a; u64 b; } __attribute__((packed)) inner_t;
typedef u32 aligned_t __attribute__((aligned(16)));
union number { u64 whole; u8 bytes[8]; struct { u32 low, high; }; };
struct scalars { bool a; char b; signed char c; u8 d; short e; u16 f; int g; u32 h; long i; unsigned long j; s64 k; __u64 l; float m; double n; __int128 o; size_t p; };
struct kernel { pid_t a; uid_t b; __be16 c; __be32 d; ktime_t e; kuid_t f; dev_t g; gfp_t h; struct in6_addr i; uint8_t j; int64_t k; ssize_t l; loff_t m; uintptr_t n; sa_family_t o; };
struct enums { u8 x; enum small a; enum wide b; enum negative c; enum predicate d; };
struct nested { u8 a; inner_t b; u8 c; union number d; struct { u8 e; u16 f; } g[3]; struct { u8 h; u64 i; }; };
struct packed_one { u8 a; u32 b; u64 c; } __packed;
struct packed_member { u8 a; u32 b __attribute__((packed)); u16 c; u64 d __packed; };
struct aligned_all { u8 a; u8 b __attribute__((aligned(8))); } __attribute__((aligned(32)));
struct aligned_type { u8 a; aligned_t b; u8 c; };
struct packed_aligned { u8 a; u32 b; u16 c; } __attribute__((packed, aligned(4)));
struct bits { u32 a : 3; u32 b : 30; u8 c : 4; u8 : 0; u8 d : 2; u64 e : 40; u64 f : 24; int g : 5; bool h : 1; };
struct bits_packed { u32 a : 3; u32 b : 30; u64 c : 61; u8 d; } __packed;
struct bits_mixed { u8 a; u32 b : 7; u16 c; u64 d : 33; u8 e; u32 : 5; u32 f : 3; };
struct bits_enum { enum small a : 4; enum small b : 4; u16 c; };
struct flexible { u32 n; u16 data[]; };
struct zero { u32 n; u8 data[0]; };
struct arrays { u8 a[3][5]; char comm[TASK_COMM_LEN]; void *p[2]; int (*f)(int); struct flexible *q; const char *s; };
#pragma pack(push, 2)
struct pragma { u8 a; u32 b; u64 c; };
#pragma pack(pop)
struct after { u8 a; u32 b; };
struct empty { };
struct with_empty { struct empty e; u32 a; };
struct volatile_ones { volatile u32 a; const u64 b; };
`, "scalars", "kernel", "enums", "nested", "packed_one", "packed_member", "aligned_all", "aligned_type", "packed_aligned", "bits",
		"bits_packed", "bits_mixed", "bits_enum", "flexible", "zero", "arrays", "pragma", "after", "with_empty", "volatile_ones")
}

// member returns a random member.
func member(r *rand.Rand, name string, depth int) string {
	types := []string{"u8", "u16", "u32", "u64", "s8", "int", "long", "bool", "enum k", "char"}
	typ := types[r.IntN(len(types))]
	attribute := []string{"", "", "", "", " __packed", " __aligned(8)", " __aligned(2)"}[r.IntN(7)]
	switch n := r.IntN(10); {
	case n < 4:
		// The parser refuses a bitfield that occupies parts of 9 bytes.
		widths := map[string]int{"u8": 8, "u16": 16, "u32": 32, "u64": 57, "s8": 8, "int": 32, "long": 57, "bool": 1, "enum k": 32, "char": 8}
		return fmt.Sprintf("%s %s : %d%s;", typ, name, 1+r.IntN(widths[typ]), []string{"", "", " __packed"}[r.IntN(3)])
	case n == 4:
		return "u32 : 0;"
	case n == 5 && depth > 0:
		keyword := []string{"struct", "union"}[r.IntN(2)]
		return fmt.Sprintf("%s { %s} %s;", keyword, members(r, name, depth-1), []string{name, ""}[r.IntN(2)])
	case n == 6:
		return fmt.Sprintf("%s %s[%d]%s;", typ, name, 1+r.IntN(5), attribute)
	}
	return fmt.Sprintf("%s %s%s;", typ, name, attribute)
}

func members(r *rand.Rand, prefix string, depth int) string {
	var b strings.Builder
	for i := range 1 + r.IntN(6) {
		b.WriteString(member(r, fmt.Sprintf("%s_%d", prefix, i), depth) + " ")
	}
	return b.String()
}

func TestRandomLayoutsAreClangs(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	text, names := "enum k { K0, K1 };\n", []string(nil)
	for i := range 200 {
		name := fmt.Sprintf("s%d", i)
		suffix := []string{"", "", " __packed", " __attribute__((aligned(16)))", " __attribute__((packed, aligned(2)))"}[r.IntN(5)]
		text += fmt.Sprintf("struct %s { u32 first; %s}%s;\n", name, members(r, "m", 2), suffix)
		names = append(names, name)
	}
	agree(t, text, names...)
}
