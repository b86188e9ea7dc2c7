package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
	"github.com/rbtool/rbtool/internal/testenv"
)

// hostile is the name of a process, with 15 bytes, the most that the kernel keeps. It contains C0 and C1
// terminal commands, newlines, and the byte that ends an escaped cell of text/tabwriter.
const hostile = "\x1b[2J\x9b\n\xff\u202e\nrbtl"

// checkText fails the test if out contains anything that a terminal interprets instead of showing it.
func checkText(t *testing.T, out []byte) {
	t.Helper()
	if !utf8.Valid(out) || bytes.ContainsFunc(out, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }) {
		t.Errorf("a terminal gets %q", out)
	}
}

// checkJSON fails the test unless each line of out is a JSON document of printable text.
func checkJSON(t *testing.T, out []byte) {
	t.Helper()
	checkText(t, out)
	for line := range bytes.Lines(out) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %q", line)
		}
	}
}

// consumeAs starts a process with the given name that consumes a ring.
func consumeAs(t *testing.T, name, path string) {
	t.Helper()
	dir := t.TempDir()
	binary, fifo := filepath.Join(dir, name), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink("/proc/self/exe", binary), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, path, fifo)
	cmd.Args[0] = "consume"
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if _, err := os.ReadFile(fifo); err != nil { // returns once the process has mapped the ring
		t.Fatal(err)
	}
}

func TestTheNameOfAProcessCommandsNoTerminal(t *testing.T) {
	_, path := pinnedRing(t, testenv.PageSize)
	consumeAs(t, hostile, path)

	tail := rbtool(t, "tail", path, "--no-decode")
	tail.Stderr = nil
	_, err := tail.Output()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != command.StatusBusy {
		t.Fatalf("tail: %v", err)
	}
	checkText(t, exit.Stderr)
	lines := strings.Split(strings.TrimSuffix(string(exit.Stderr), "\n"), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], `(\x1b[2J\x9b\n\xff\u202e\nrbtl)`) || !strings.HasPrefix(lines[1], "hint: ") {
		t.Errorf("tail says %q", lines)
	}
	for _, args := range [][]string{{"ls"}, {"inspect", path}, {"top", "--once", "--interval", "10ms"}} {
		out, err := rbtool(t, args...).Output()
		if err != nil {
			t.Fatal(err)
		}
		checkText(t, out)
		if !strings.Contains(string(out), `\x1b[2J\x9b\n\xff\u202e\nrbtl`) {
			t.Errorf("%v: %s", args, out)
		}
		if out, err = rbtool(t, append(args, "-o", "json")...).Output(); err != nil || !json.Valid(out) {
			t.Errorf("%v: %q, %v", args, out, err)
		}
		checkText(t, out)
	}
	// The JSON has the name's bytes: if they were replaced by U+FFFD, it could be another process's
	// name.
	out, err := rbtool(t, "inspect", path, "-o", "json").Output()
	var ring struct {
		Owners []struct{ Comm any }
	}
	if err := errors.Join(err, json.Unmarshal(out, &ring)); err != nil {
		t.Fatal(err)
	}
	var want any = []any{}
	for _, b := range []byte(hostile) {
		want = append(want.([]any), float64(b))
	}
	if !slices.ContainsFunc(ring.Owners, func(u struct{ Comm any }) bool { return cmp.Equal(u.Comm, want) }) {
		t.Errorf("no owner has the bytes of the name: %s", out)
	}
}

// hostileTypes returns a record type in which the type, its members and its enumerators all have the
// given name.
func hostileTypes(name string) (*decode.Set, error) {
	u32 := &btf.Int{Name: "u32", Size: 4}
	enum := &btf.Enum{Name: name, Size: 4, Values: []btf.EnumValue{{Name: name, Value: 1}}}
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	return decode.NewSet(&btf.Struct{Name: name, Size: 24, Members: []btf.Member{
		{Name: name, Type: u32}, {Name: "e" + name, Type: enum, Offset: 32},
		{Name: "s" + name, Type: &btf.Array{Index: u32, Type: char, Nelems: 16}, Offset: 64},
	}})
}

func hostileRecord(s string) []byte {
	record := binary.LittleEndian.AppendUint64(nil, 1<<32|7)
	return append(record, append([]byte(s), make([]byte, 16)...)[:16]...)
}

func TestACaptureCommandsNoTerminal(t *testing.T) {
	name := strings.ToValidUTF8(hostile, "") + "\u009b\x7f\a"
	types, err := hostileTypes(name)
	if err != nil {
		t.Fatal(err)
	}
	file, err := capture.AppendHeader(nil, capture.Info{Name: hostile, Type: ebpf.RingBuf, Size: 4096, Types: types, Pin: hostile, Section: capture.Section{
		Application: hostile, Host: capture.Host{Name: hostile, BootID: hostile, Kernel: hostile, Machine: hostile},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file = capture.AppendRecord(file, capture.Record{Time: time.Unix(0, 0), Data: hostileRecord(hostile)})
	path := filepath.Join(t.TempDir(), "capture")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, output := range []string{"text", "json"} {
		cmd := rbtool(t, "replay", path, "-o", output)
		cmd.Stderr = nil
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		checkText(t, out)
		if output == "json" {
			checkJSON(t, out)
		}
	}
	// The error message lists the names of the types.
	cmd := rbtool(t, "replay", path, "--filter", `type == "no such type"`)
	cmd.Stderr = nil
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		t.Errorf("replay: %v", err)
	}
	checkText(t, out)
	if lines := bytes.Count(out, []byte("\n")); lines > 2 {
		t.Errorf("an error of %d lines: %s", lines, out)
	}
}

// FuzzFormats formats records with arbitrary type names and strings.
func FuzzFormats(f *testing.F) {
	f.Add(hostile, hostile)
	f.Add("\u009b\x7f\a\u202e\"\\", "\xff\xfe")
	f.Add("type", "plain")
	f.Fuzz(func(t *testing.T, name, s string) {
		types, err := hostileTypes(name)
		if err != nil {
			return
		}
		rec := stream.Record{Record: consumer.Record{Data: hostileRecord(s)}, Seq: 1}
		checkJSON(t, stream.NewFormat(stream.JSON, stream.FormatOptions{Types: types})(nil, &rec))
		text := stream.NewFormat(stream.Text, stream.FormatOptions{Types: types})(nil, &rec)
		checkText(t, text)
		if bytes.Count(text, []byte("\n")) != 1 {
			t.Errorf("not a line: %q", text)
		}
	})
}

// charsBTF returns the path of BTF that has one struct, with an array of 16 characters.
func charsBTF(tb testing.TB) string {
	tb.Helper()
	char := &btf.Int{Name: "char", Size: 1, Encoding: btf.Signed}
	index := &btf.Int{Name: "u32", Size: 4}
	chars := &btf.Struct{Name: "chars", Size: 16, Members: []btf.Member{{Name: "s", Type: &btf.Array{Index: index, Type: char, Nelems: 16}}}}
	b, err := btf.NewBuilder([]btf.Type{chars}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := b.Marshal(nil, nil)
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "chars.btf")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// produce restores each record from the JSON that tail prints, whatever bytes its strings contain.
func TestProduceReadsTheJSONOfTail(t *testing.T) {
	_, user := pinnedUserRing(t, testenv.PageSize)
	_, ring := pinnedRing(t, testenv.PageSize)
	types := []string{"--type", "chars", "--btf", charsBTF(t)}
	pass := func(in []byte, format string, args ...string) []byte {
		t.Helper()
		produce := rbtool(t, append([]string{"produce", "--user", user, "--format", format}, args...)...)
		produce.Stdin, produce.Stderr = bytes.NewReader(in), nil
		drain := rbtool(t, "drain", user, "--to", ring, "--once")
		drain.Stderr = nil
		if err := errors.Join(produce.Run(), drain.Run()); err != nil {
			t.Fatal(err)
		}
		output := map[string]string{"hex": "json", "json": "hex"}[format]
		out, err := rbtool(t, append([]string{"tail", ring, "--idle", "100ms", "-o", output}, types...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var want, data []byte
	for _, s := range []string{"", "plain", "é宽🙂", "\xff", "\xfe", "\ufffd", hostile, "0123456789abcde\xff", "\xed\xb3\xbf", `\udcff`, "[255]"} {
		want = append(hex.AppendEncode(want, append([]byte(s), make([]byte, 16)...)[:16]), '\n')
	}
	out := pass(want, "hex")
	checkJSON(t, out)
	for line := range bytes.Lines(out) {
		var record struct{ Data json.RawMessage }
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		data = append(append(data, record.Data...), '\n')
	}
	if got := pass(data, "json", types...); !bytes.Equal(got, want) {
		t.Errorf("from %s\ngot:\n%swant:\n%s", out, got, want)
	}
}
