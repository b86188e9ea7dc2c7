package cli

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/testenv"
)

// loadForeign loads an object with bpftool, and returns a directory with its programs in p and its maps in m.
func loadForeign(t *testing.T) string {
	t.Helper()
	bpftool, err := exec.LookPath("bpftool")
	if err != nil {
		testenv.SkipWithout(t, "bpftool", err)
	}
	dir := testenv.BPFFS(t)
	object := filepath.Join("..", "..", "decode", "infer", "testdata", "foreign_bpfel.o")
	out, err := exec.Command(bpftool, "prog", "loadall", object, filepath.Join(dir, "p"), "pinmaps", filepath.Join(dir, "m")).CombinedOutput()
	if err != nil {
		t.Fatalf("bpftool: %v\n%s", err, out)
	}
	return dir
}

// Records from programs that bpftool loaded are decoded without flags. If a type is uncertain, a note
// says so.
func TestTailOfForeignObjects(t *testing.T) {
	dir := loadForeign(t)
	tests := []struct{ ring, program, stdout, stderr string }{
		{"by_argument", "argument", `"type":"passed","data":{"kind":"KIND_CLOSE","pid":\d+,"comm":".*"}}\n$`, `^$`},
		{"by_size", "size", `"type":"lonely","data":{"a":1,`, `^note: records are shown as lonely \(likely: .*\)\n$`},
		{"by_nothing", "nothing", `"type":"hidden","known_by":"reconstructed","data":{"a":1,"b":2,"c":3}}\n$`, `^note: records are shown as hidden \(likely: .*\n$`},
	}
	if testing.Short() {
		tests = tests[:1]
	}
	for _, tt := range tests {
		t.Run(tt.ring, func(t *testing.T) {
			prog, err := ebpf.LoadPinnedProgram(filepath.Join(dir, "p", tt.program), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer prog.Close()
			if _, err := prog.Run(&ebpf.RunOptions{}); err != nil {
				t.Fatal(err)
			}
			cmd := rbtool(t, "tail", filepath.Join(dir, "m", tt.ring), "-o", "json", "-n", "1")
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Errorf("tail: %v", err)
			}
			if !regexp.MustCompile(tt.stdout).Match(stdout.Bytes()) || !regexp.MustCompile(tt.stderr).Match(stderr.Bytes()) {
				t.Errorf("stdout %sstderr %s", &stdout, &stderr)
			}
			if testing.Short() {
				return
			}
			prog.Run(&ebpf.RunOptions{})
			filtered, err := rbtool(t, "tail", filepath.Join(dir, "m", tt.ring), "--observe", "--filter", "len > 0 && seq == 1", "-o", "json", "-n", "1").Output()
			if err != nil || !bytes.Contains(filtered, []byte(`{"seq":1,`)) {
				t.Errorf("filtered: %s, %v", filtered, err)
			}
		})
	}
}

// --explain explains with any format, however short the time for reading is.
func TestExplainWithEveryFormat(t *testing.T) {
	dir := loadForeign(t)
	// On a slow machine it takes too long to find out.
	want := regexp.MustCompile(`(?m)^records are (passed|shown in hex: .*it takes too long)$`)
	for _, format := range []string{"text", "hex", "raw"} {
		var stderr bytes.Buffer
		cmd := rbtool(t, "tail", filepath.Join(dir, "m", "by_argument"), "--observe", "--explain", "-o", format, "--for", "1ns")
		cmd.Stderr = &stderr
		if err := cmd.Run(); err != nil || !want.Match(stderr.Bytes()) {
			t.Errorf("%s: %v, %s", format, err, &stderr)
		}
	}
}
