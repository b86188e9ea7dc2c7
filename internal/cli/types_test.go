package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/testenv"
)

// typeFiles writes files that --btf can name to a new directory, and returns it: object.o, a BPF object; blob, which
// has it inside; and other.btf, whose struct event differs from that of the object.
func typeFiles(t *testing.T, object string) string {
	t.Helper()
	b, err := os.ReadFile(object)
	if err != nil {
		t.Fatal(err)
	}
	builder, err := btf.NewBuilder([]btf.Type{&btf.Struct{Name: "event", Size: 8}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"object.o": b, "blob": append([]byte("a file that is "), b...), "other.btf": other, "text": []byte("some text"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// load loads an object with cilium/ebpf and pins its programs and maps as [loadByBpftool] does. This process does not
// embed the object.
func load(t *testing.T, object, dir string) {
	t.Helper()
	coll, err := ebpf.LoadCollection(object)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	pins := map[string]interface{ Pin(string) error }{}
	for name, p := range coll.Programs {
		pins["p/"+name] = p
	}
	for name, m := range coll.Maps {
		pins["m/"+name] = m
	}
	for path, o := range pins {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := o.Pin(filepath.Join(dir, path)); err != nil && !strings.HasPrefix(path, "m/.") {
			t.Fatal(err)
		}
	}
}

// loadByBpftool loads an object with bpftool, which uses libbpf, and pins its programs in dir/p and its maps in dir/m.
func loadByBpftool(t *testing.T, object, dir string) {
	t.Helper()
	bpftool, err := exec.LookPath("bpftool")
	if err != nil {
		testenv.SkipWithout(t, "bpftool", err)
	}
	out, err := exec.Command(bpftool, "prog", "loadall", object, filepath.Join(dir, "p"), "pinmaps", filepath.Join(dir, "m")).CombinedOutput()
	if err != nil {
		t.Fatalf("bpftool: %v\n%s", err, out)
	}
}

// The flags --type and --btf, each alone and both, for rings whose programs another loader has loaded.
func TestWhereTypesComeFrom(t *testing.T) {
	dir := testenv.BPFFS(t)
	object := filepath.Join("..", "objects", "testdata", "owned_bpfel.o")
	load(t, object, dir)
	loadByBpftool(t, filepath.Join("..", "..", "decode", "infer", "testdata", "foreign_bpfel.o"), dir)
	const local, event = `"type":"local","data":{"time":\d+,"color":"BLUE",`, `"type":"event","data":{"pid":\d+,"comm":`
	const fromKernel = 2 // so many come first
	for i, tt := range []struct {
		rule, ring, program, flags string
		status                     int
		stdout, stderr             string
	}{
		{"--type alone, of the program", "by_argument", "argument", "--type passed", 0, `"type":"passed","data":{"kind":"KIND_CLOSE",`,
			`^note: type passed is from the program's BTF\n$`},
		{"--type alone, of the kernel", "declared", "produces_what_is_declared", "--type timespec64", 0, `"type":"timespec64"`, `^note: type timespec64 is from kernel\n$`},
		{"--btf alone, an object", "undeclared", "produces", "--btf object.o", 0, local, ``},
		{"--btf alone, an object inside a file", "undeclared", "produces", "--btf blob", 0, local, ``},
		{"--type in the DWARF of an object", "undeclared", "produces", "--btf object.o --type local --explain", 0, local, `^type local is from object.o\n$`},
		{"--type in one of several", "declared", "produces_what_is_declared", "--btf blob --btf kernel --type event", 0, event, `^$`},
		{"--type in files that differ", "declared", "produces_what_is_declared", "--btf object.o,other.btf --type event", 1, `^$`,
			`--type: find type "event": there are different types of this name: 20 bytes in object.o, 8 bytes in other.btf\n$`},
		{"--type alone, misspelt", "by_argument", "argument", "--type pased", 4, `^$`,
			`--type: find type "pased": not found \(near: passed.*\) in the program's BTF, .*kernel\nhint: --struct .*\n$`},
		{"--type that no file has", "declared", "produces_what_is_declared", "--type locale --btf object.o", 4, `^$`,
			`--type: find type "locale": not found \(near: local.*\) in object.o\nhint: .*\n$`},
		{"--btf that is no such file", "declared", "produces_what_is_declared", "--btf none", 4, `^$`, `--btf: open none: no such file or directory\nhint: the working directory is .*\n$`},
		{"--btf without types", "declared", "produces_what_is_declared", "--btf text", 1, `^$`, `--btf: read types of text: it is neither BTF nor ELF, and has no BPF object inside\n$`},
	} {
		if testing.Short() && i == fromKernel {
			break // the rest is the same on every kernel
		}
		t.Run(tt.rule, func(t *testing.T) {
			prog, err := ebpf.LoadPinnedProgram(filepath.Join(dir, "p", tt.program), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer prog.Close()
			if _, err := prog.Run(&ebpf.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			args := append([]string{"tail", filepath.Join(dir, "m", tt.ring), "-o", "json", "-n", "1"}, strings.Fields(tt.flags)...)
			cmd := rbtool(t, args...)
			cmd.Dir = typeFiles(t, object)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			cmd.Run()
			if cmd.ProcessState.ExitCode() != tt.status || !regexp.MustCompile(tt.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(tt.stderr).Match(stderr.Bytes()) {
				t.Errorf("status %d, stdout %sstderr %s", cmd.ProcessState.ExitCode(), &stdout, &stderr)
			}
		})
	}
}

// The names of types are completed from the files of --btf, and from what is known of the ring.
func TestNamesOfTypesAreCompleted(t *testing.T) {
	object := filepath.Join("..", "objects", "testdata", "owned_bpfel.o")
	dir := typeFiles(t, object)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--btf", "object.o", "--type", "lo"}, "local\n:4\n"},
		{[]string{"--btf", "object.o", "--type", "event,clo"}, "event,closed\n:4\n"},
		{[]string{"--btf", "none", "--type", ""}, ":4\n"},
		{[]string{"--type", ""}, ":4\n"},
		{[]string{"--btf", "ker"}, "kernel\nprog:\n:0\n"},
	} {
		cmd := rbtool(t, append([]string{"__complete", "tail", "ring"}, tt.args...)...)
		cmd.Dir, cmd.Stderr = dir, nil
		out, err := cmd.Output()
		if err != nil || string(out) != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.args, out, err, tt.want)
		}
	}
}
