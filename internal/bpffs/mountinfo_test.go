package bpffs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMountinfo(t *testing.T) {
	const text = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
33 24 0:29 / /sys/fs/bpf rw,nosuid,nodev,noexec,relatime shared:11 master:3 - bpf bpf rw,mode=700
40 22 0:30 / /mnt/a\040b\011c\012d\134e\043f rw - bpf none rw
41 22 0:30 /sub\040dir /bind rw,relatime - bpf bpf rw
42 22 0:31 / /mnt/bpf rw - tmpfs bpf rw
43 22 0:32 / /short
44 22 0:33 / /odd\ rw,relatime opt:1 opt:2 opt:3 - bpf a - b rw

`
	want := []mount{
		{"0:29", "/", "/sys/fs/bpf"},
		{"0:30", "/", "/mnt/a b\tc\nd\\e#f"},
		{"0:30", "/sub dir", "/bind"},
		{"0:33", "/", `/odd\`},
	}
	if diff := cmp.Diff(want, parseMountinfo(text), cmp.AllowUnexported(mount{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnescapeLeavesOtherBackslashes(t *testing.T) {
	for in, want := range map[string]string{
		``:               ``,
		`plain`:          `plain`,
		`\040`:           ` `,
		`a\`:             `a\`,
		`a\04`:           `a\04`,
		`\999`:           `\999`,
		`\777`:           `\777`, // exceeds a byte
		`\\040`:          `\ `,
		`\134040`:        `\040`, // the mangled form of a backslash and 040
		`\303\244 \0401`: "\u00e4  1",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestPartOf(t *testing.T) {
	base := mount{"0:29", "/", "/sys/fs/bpf"}
	sub := mount{"0:29", "/a", "/bind"}
	for name, tt := range map[string]struct {
		m, o mount
		want bool
	}{
		"the same directory":             {base, base, true},
		"a directory below the root":     {sub, base, true},
		"the root, below a directory":    {base, sub, false},
		"a name with the same beginning": {mount{"0:29", "/ab", ""}, sub, false},
		"a directory below":              {mount{"0:29", "/a/b", ""}, sub, true},
		"another bpffs":                  {mount{"0:30", "/", ""}, base, false},
	} {
		if got := tt.m.partOf(tt.o); got != tt.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
}
