package cstruct

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func typeIn(t testing.TB, text, name string) btf.Type {
	t.Helper()
	f, err := Parse("t.h", text)
	if err != nil {
		t.Fatal(err)
	}
	typ, err := f.Type(name)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

// layout describes the members of a struct or union: their names, types and offsets in bytes or bits.
func layout(t btf.Type) string {
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Struct:
		return fmt.Sprintf("struct(%d){%s}", t.Size, membersOf(t.Members))
	case *btf.Union:
		return fmt.Sprintf("union(%d){%s}", t.Size, membersOf(t.Members))
	case *btf.Array:
		return fmt.Sprintf("[%d]%s", t.Nelems, layout(t.Type))
	case *btf.Enum:
		text := fmt.Sprintf("enum %s(%d,%v)", t.Name, t.Size, t.Signed)
		for _, v := range t.Values {
			text += fmt.Sprintf(" %s=%d", v.Name, int64(v.Value))
		}
		return text
	case *btf.Int:
		return fmt.Sprintf("%s(%d,%v)", t.Name, t.Size, t.Encoding)
	case *btf.Float:
		return fmt.Sprintf("%s(%d)", t.Name, t.Size)
	case *btf.Pointer:
		return "pointer"
	}
	return fmt.Sprintf("%T", t)
}

func membersOf(members []btf.Member) string {
	var all []string
	for _, m := range members {
		place := fmt.Sprint(m.Offset / 8)
		if m.BitfieldSize > 0 {
			place = fmt.Sprintf("bits %d+%d", m.Offset, m.BitfieldSize)
		}
		all = append(all, fmt.Sprintf("%s@%s %s", m.Name, place, layout(m.Type)))
	}
	return strings.Join(all, "; ")
}

func TestLayouts(t *testing.T) {
	for text, want := range map[string]string{
		`struct event { u32 pid; char comm[16]; };`:                                       `struct(20){pid@0 unsigned int(4,unsigned); comm@4 [16]char(1,signed)}`,
		`struct event { u32 pid; char comm[16]; }`:                                        `struct(20){pid@0 unsigned int(4,unsigned); comm@4 [16]char(1,signed)}`,
		`struct { u8 a; u64 b; };`:                                                        `struct(16){a@0 unsigned char(1,unsigned); b@8 unsigned long long(8,unsigned)}`,
		`struct e { u8 a; u64 b; } __attribute__((packed));`:                              `struct(9){a@0 unsigned char(1,unsigned); b@1 unsigned long long(8,unsigned)}`,
		"/* " + strings.Repeat("x", 9000) + " */\nstruct e { u8 a; }; // '":               `struct(1){a@0 unsigned char(1,unsigned)}`,
		`struct e { u8 a; u64 b; } __packed;`:                                             `struct(9){a@0 unsigned char(1,unsigned); b@1 unsigned long long(8,unsigned)}`,
		"#include <gadget/types.h>\nstruct e { gadget_timestamp t; gadget_comm c[16]; };": `struct(24){t@0 unsigned long long(8,unsigned); c@8 [16]char(1,signed)}`,
		"typedef struct { u16 a; u8 rest[]; } event_t;":                                   `struct(2){a@0 unsigned short(2,unsigned); rest@2 [0]unsigned char(1,unsigned)}`,
		"#define N 4\nstruct e { u8 n[N * 2][N / 2]; };":                                  `struct(16){n@0 [8][2]unsigned char(1,unsigned)}`,
		"struct e { char comm[TASK_COMM_LEN]; };":                                         `struct(16){comm@0 [16]char(1,signed)}`,
		"enum k { A = -1, B = 5 };\nstruct e { enum k kind; };":                           `struct(4){kind@0 enum k(4,true) A=-1 B=5}`,
		"struct e { u32 a : 3, b : 7; bool c; void *p; };":                                `struct(16){a@bits 0+3 unsigned int(4,unsigned); b@bits 3+7 unsigned int(4,unsigned); c@2 _Bool(1,bool); p@8 pointer}`,
		"struct e { union { u32 a; u8 b; }; long c; };":                                   `struct(16){@0 union(4){a@0 unsigned int(4,unsigned); b@0 unsigned char(1,unsigned)}; c@8 long(8,signed)}`,
	} {
		t.Run(text, func(t *testing.T) {
			if got := layout(typeIn(t, text, "")); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}

// A text's own declarations replace those that are predeclared.
func TestOwnNamesWin(t *testing.T) {
	for text, size := range map[string]uint32{
		"typedef unsigned short u32;\nstruct e { u32 a; };":                             2,
		"enum { TASK_COMM_LEN = 32 };\nstruct e { char a[TASK_COMM_LEN]; };":            32,
		"#define TASK_COMM_LEN 64\nstruct e { char a[TASK_COMM_LEN]; };":                64,
		"struct in6_addr { u8 a[3]; };\nstruct e { struct in6_addr a; };":               3,
		"struct u32 { u8 a; };\nstruct e { u32 a; struct u32 b; };":                     8,
		"#define u32 unsigned char\nstruct e { u32 a; };":                               1,
		"typedef _Bool bool;\ntypedef unsigned long u64;\nstruct e { u64 a; bool b; };": 16,
	} {
		if got := typeIn(t, text, "").(*btf.Struct).Size; got != size {
			t.Errorf("%s: %d bytes, want %d", text, got, size)
		}
	}
}

func TestNamedTypes(t *testing.T) {
	const text = `
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
enum kind { OPEN = 1 };
struct first { u32 a; };
typedef struct second { u64 a; } second_t;
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct first); } events SEC(".maps");
const struct first *unused __attribute__((unused));
SEC("tp/sched/sched_process_exec") int trace(void *ctx) { struct first *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0); return e != 0; }
typedef __be32 address;
char LICENSE[] SEC("license") = "GPL";`
	f, err := Parse("prog.bpf.c", text)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"": "second_t", "first": "first", "struct first": "first", "second": "second", "second_t": "second_t",
		"kind": "kind", "enum kind": "kind", "address": "address",
	} {
		typ, err := f.Type(name)
		if err != nil || typ.TypeName() != want {
			t.Errorf("%q: %v, %v", name, typ, err)
		}
	}
	if got := strings.Join(f.Ignored, " "); got != "vmlinux.h bpf/bpf_helpers.h" {
		t.Errorf("ignored: %s", got)
	}
	_, err = f.Type("secnd")
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "prog.bpf.c: secnd is not declared (near: second)") {
		t.Error(err)
	}
}

// A declaration that cannot be read is an error only for those who ask for its type.
func TestOtherDeclarationsDoNotMatter(t *testing.T) {
	const text = `
#include "other.h"
#ifdef __cplusplus
extern "C" {
#endif
struct unknown { foo_t x; };
typedef struct { u32 a;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	u32 little;
#else
#error "not for this machine"
#endif
} known_t;
struct other *f(int x) { return x ? BPF_CORE_READ(struct x, y) : "};"; }
static const u32 table[] = { [UNKNOWN] = 1, };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __type(key, foo_t); } map SEC(".maps");
struct needs { struct unknown u; u8 b; };
static __always_inline int g(struct needs *n) __attribute__((noinline)) { if (n) { return 1; } return 0; }
struct __attribute__((packed)) good { u8 a; u32 b; };
struct map_def { __uint(max_entries, 1); } other_map SEC(".maps");
enum lost { A = UNKNOWN };
#ifdef __cplusplus
}
#endif
`
	f, err := Parse("t.h", text)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": "5 good", "good": "5 good", "known_t": "8 known_t"} {
		typ, err := f.Type(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if size, err := btf.Sizeof(typ); err != nil || fmt.Sprint(size, " ", typ.TypeName()) != want {
			t.Errorf("%q: %d bytes of %s, %v", name, size, typ.TypeName(), err)
		}
	}
	for name, want := range map[string]string{
		"unknown": "t.h:6:24: unknown type foo_t (#include of other.h", "needs": "struct unknown: incomplete type (#include of other.h", "lost": "undefined: UNKNOWN",
	} {
		if _, err := f.Type(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The last struct is never silently another one than the text's last.
func TestTheLastStructThatCannotBeReadIsAnError(t *testing.T) {
	f, err := Parse("t.h", "struct a { u32 x; };\nstruct b { foo_t x; };\ntypedef int other;")
	if err != nil {
		t.Fatal(err)
	}
	if typ, err := f.Type(""); err == nil || !strings.Contains(err.Error(), "t.h:2:18: unknown type foo_t") {
		t.Errorf("%v, %v", typ, err)
	}
}

// The name of each typedef on the way to a type is kept: some say what a number stands for.
func TestTypedefsKeepTheirNames(t *testing.T) {
	s := typeIn(t, "typedef __be32 address;\nstruct e { address a; };", "").(*btf.Struct)
	outer := s.Members[0].Type.(*btf.Typedef)
	inner, ok := outer.Type.(*btf.Typedef)
	if !ok || outer.Name != "address" || inner.Name != "__be32" {
		t.Errorf("%v of %v", outer, outer.Type)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "t.h: no struct is declared",
		"struct e { foo_t x; };": "t.h:1:18: unknown type foo_t",
		"#include \"a.h\"\nstruct e { foo_t x; };":                 "t.h:2:18: unknown type foo_t (#include of a.h is not followed: declare here what the struct needs)",
		"struct e { u32 x":                                         "'}' is missing at the end",
		"struct e { u32 x[N]; };":                                  "t.h:1:18: undefined: N",
		"struct e { struct f x; };":                                "x of struct e: struct f: incomplete type",
		"struct e { enum f x; };":                                  "enum f: incomplete type",
		"struct e { struct e x; };":                                "t.h: e: ",
		"struct e *}":                                              "line 1: '}' without its opening bracket",
		"struct e { int x[}; ]":                                    "line 1: '}' without",
		"typedef struct e *":                                       "the text ends within a declaration",
		"struct e { int x __attribute__((packed };":                "line 1: '}' without",
		"#error no":                                                "t.h:1:2: no",
		"struct e { u32 a[-1]; };":                                 "invalid array size",
		"int f(void);":                                             "no struct is declared",
		"struct e { u8 v __attribute__((vector_size(16))); };":     "vectors are not supported",
		"struct e { u8 a : 3 __attribute__((aligned(8))); };":      "a bitfield with the attribute aligned",
		"struct e { _Complex float f; };":                          "cannot be a part of a record",
		"struct e { int a[1 << 30][1 << 30]; };":                   "incomplete type",
		strings.Repeat("{", 1000):                                  "nested more than 200 levels",
		"enum e { " + strings.Repeat("A, ", 100) + "};":            "enumerator A is declared 100 times",
		"struct e { int a[" + strings.Repeat("-", 5000) + "1]; };": "a declaration or expression of more than 4096 characters",
		strings.Repeat(" ", MaxSize+1):                             "more than 1024 KiB of C",
		bomb():                                                     "expansion",
	} {
		f, err := Parse("t.h", text)
		if err == nil {
			_, err = f.Type("")
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "t.h:") {
			t.Errorf("%.60s: %v\nwant %s", text, err, want)
		}
	}
}

// bomb returns macros that expand to 2^30 tokens.
func bomb() string {
	text := "#define A0 1 + 1\n"
	for i := range 30 {
		text += fmt.Sprintf("#define A%d A%d + A%d\n", i+1, i, i)
	}
	return text + "struct e { char a[A30]; };"
}

// A chain of structs, each of which has the one before it twice, is built in linear time.
func TestSharedTypesAreBuiltOnce(t *testing.T) {
	text := "struct s0 { u32 a; };\n"
	for i := range 24 {
		text += fmt.Sprintf("struct s%d { struct s%d a, b; };\n", i+1, i)
	}
	if size := typeIn(t, text, "").(*btf.Struct).Size; size != 4<<24 {
		t.Errorf("%d bytes", size)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("struct event { u32 pid; char comm[16]; };", "event")
	f.Add("#define N 4\ntypedef struct { u8 n[N * 2]; enum { A, B = 1 << 3 } k : 5; } __packed e;", "")
	f.Add("#include \"x.h\"\nunion u { int a[]; struct { long b __attribute__((aligned(16))); }; };", "union u")
	f.Fuzz(func(t *testing.T, text, name string) {
		if len(text) > 4096 {
			return
		}
		file, err := Parse("t.h", text)
		if errors.Is(err, errTime) {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil {
			return
		}
		if typ, err := file.Type(name); err == nil {
			if _, err := btf.Sizeof(typ); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
