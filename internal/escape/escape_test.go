package escape

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

func TestString(t *testing.T) {
	for _, tt := range []struct{ name, s, want string }{
		{"printable text stays", `plain, "quoted", back\slash, é 宽 🙂 �`, `plain, "quoted", back\slash, é 宽 🙂 �`},
		{"escape sequences", "\x1b[31mred\x1b]0;title\a", `\x1b[31mred\x1b]0;title\a`},
		{"one line", "a\nb\r\tc", `a\nb\r\tc`},
		{"DEL", "\x7f", `\x7f`},
		{"C1, as a rune and as a byte", "\u009b31m\x9b31m", `\u009b31m\x9b31m`},
		{"bidirectional controls", "a\u202eb\u2066c\u200fd\u061c", `a\u202eb\u2066c\u200fd\u061c`},
		{"line separators and spaces that look alike", "a\u2028b\u00a0c", `a\u2028b\u00a0c`},
		{"invisible characters", "a\u200bb\ufeffc\U000e0041", `a\u200bb\ufeffc\U000e0041`},
		{"not UTF-8", "a\xffb\xc3\xed\xa0\x80", `a\xffb\xc3\xed\xa0\x80`},
		{"escaped text stays", `\x1b`, `\x1b`},
		{"nothing", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := String(tt.s); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// readJSONString decodes the output of AppendJSONString.
func readJSONString(text []byte) (s string, err error) {
	if text[0] == '"' {
		return s, json.Unmarshal(text, &s)
	}
	var list []int
	err = json.Unmarshal(text, &list)
	for _, b := range list {
		s += string([]byte{byte(b)})
	}
	return s, err
}

func TestAppendJSONString(t *testing.T) {
	for _, tt := range []struct{ name, s, want string }{
		{"printable text stays", `plain é 宽 🙂 <&>`, `"plain é 宽 🙂 <&>"`},
		{"quotes and backslashes", `a"b\c`, `"a\"b\\c"`},
		{"controls", "\n\t\x1b\x00\x7f\u009b", `"\n\t\u001b\u0000\u007f\u009b"`},
		{"bidirectional and invisible runes", "\u202e\U000e0041", `"\u202e\udb40\udc41"`},
		{"a string that is not UTF-8 is its bytes", "a\xff", `[97,255]`},
		{"but U+FFFD is a rune", "\ufffd", "\"\ufffd\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := string(AppendJSONString(nil, []byte(tt.s)))
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if back, err := readJSONString([]byte(got)); err != nil || back != tt.s {
				t.Errorf("read back: %q, %v", back, err)
			}
		})
	}
}

// unsafe reports whether a rune must be escaped in a line of text.
func unsafe(r rune) bool { return r == '\n' || r == '\t' || !unicode.IsPrint(r) }

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[2J\n", "\u202e\u009b\x9b\xff", `"\`, "\xf0\x9f", "🙂"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := string(b)
		got := String(s)
		if strings.ContainsFunc(got, unsafe) || !utf8.ValidString(got) {
			t.Errorf("%q: %q is not printable", s, got)
		}
		if again := String(got); again != got {
			t.Errorf("%q: again %q", got, again)
		}
		if got, want := string(AppendQuoted(nil, b)), strconv.Quote(s); got != want {
			t.Errorf("quoted %s, want %s", got, want)
		}
		checkJSON(t, b)
		checkWriter(t, b)
	})
}

func checkJSON(t *testing.T, b []byte) {
	t.Helper()
	out := AppendJSONString(nil, b)
	if !json.Valid(out) || bytes.ContainsFunc(out, unsafe) {
		t.Errorf("%q: JSON string %q", b, out)
	}
	if back, err := readJSONString(out); err != nil || back != string(b) {
		t.Errorf("%q: read back %q, %v", b, back, err)
	}
	doc, err := json.MarshalIndent(map[string]any{string(b): []string{string(b)}}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	escaped := AppendJSON(nil, doc)
	var want, got any
	if err := json.Unmarshal(doc, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(escaped, &got); err != nil {
		t.Fatalf("%v: %q", err, escaped)
	}
	wantText, _ := json.Marshal(want)
	gotText, _ := json.Marshal(got)
	if !bytes.Equal(wantText, gotText) {
		t.Errorf("the document %s means %s", doc, gotText)
	}
	if bytes.ContainsFunc(escaped, func(r rune) bool { return unsafe(r) && r != '\n' && r != '\t' }) {
		t.Errorf("document %q", escaped)
	}
}

// The same text is escaped in the same way, into however many writes it is split.
func checkWriter(t *testing.T, b []byte) {
	t.Helper()
	var atOnce, byByte bytes.Buffer
	w := NewWriter(&atOnce)
	if n, err := w.Write(b); n != len(b) || err != nil {
		t.Fatalf("%d of %d bytes: %v", n, len(b), err)
	}
	w.Flush()
	w = NewWriter(&byByte)
	for i := range b {
		w.Write(b[i : i+1])
	}
	w.Flush()
	if !bytes.Equal(atOnce.Bytes(), byByte.Bytes()) {
		t.Errorf("%q: at once %q, by bytes %q", b, &atOnce, &byByte)
	}
	undo := strings.NewReplacer(`\n`, "\n", `\t`, "\t")
	if got := undo.Replace(atOnce.String()); got != undo.Replace(String(string(b))) {
		t.Errorf("%q: written as %q", b, &atOnce)
	}
}

func TestWriterReportsErrors(t *testing.T) {
	r, pipe := io.Pipe()
	r.CloseWithError(unix.EPIPE)
	w := NewWriter(pipe)
	if n, err := w.Write([]byte("text")); n != 0 || !errors.Is(err, unix.EPIPE) {
		t.Errorf("%d, %v", n, err)
	}
}

func BenchmarkString(b *testing.B) {
	s := strings.Repeat("plain text, ", 10)
	b.SetBytes(int64(len(s)))
	b.ReportAllocs()
	for b.Loop() {
		String(s)
	}
}

func BenchmarkWriter(b *testing.B) {
	line := []byte(strings.Repeat("exec_event pid=1 comm=sh ", 6) + "\n")
	batch := bytes.Repeat(line, 256)
	w := NewWriter(io.Discard)
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		w.Write(batch)
	}
}
