package capture

import (
	"bytes"
	"unicode/utf8"
)

// ForeignError reports a file that is not a capture, and what it is instead. It matches [ErrFormat].
type ForeignError struct {
	// Format is the format of the file, such as "gzip" or "pcap", or "" if it is unknown. Formats that pack other
	// files have the names of their commands.
	Format string
	// Writer is the program that wrote a file of the format "pcapng", if the file says so.
	Writer string

	text string
}

func (e *ForeignError) Error() string { return ErrFormat.Error() + e.text }

func (e *ForeignError) Unwrap() error { return ErrFormat }

// signatures are the first bytes of files of other formats.
var signatures = []struct{ first, format, text string }{
	{"\x1f\x8b", "gzip", ": it is compressed by gzip"},
	{"\x28\xb5\x2f\xfd", "zstd", ": it is compressed by zstd"},
	{"\xfd7zXZ\x00", "xz", ": it is compressed by xz"},
	{"BZh", "bzip2", ": it is compressed by bzip2"},
	{"\x04\x22\x4d\x18", "lz4", ": it is compressed by lz4"},
	{"PK\x03\x04", "zip", ": it is a zip archive"},
	{"\xd4\xc3\xb2\xa1", "pcap", pcapText}, {"\xa1\xb2\xc3\xd4", "pcap", pcapText}, // microseconds
	{"\x4d\x3c\xb2\xa1", "pcap", pcapText}, {"\xa1\xb2\x3c\x4d", "pcap", pcapText}, // nanoseconds
	{"\x34\xcd\xb2\xa1", "pcap", pcapText}, {"\xa1\xb2\xcd\x34", "pcap", pcapText}, // of old versions of libpcap
	{"\x7fELF", "elf", ": it is an ELF file, a program or an object"},
	{"\x9f\xeb", "btf", ": it is BTF, which describes types and has no records"},
}

const pcapText = ": it is a pcap file with network packets"

// foreign says what a file is that begins with head and is not pcapng.
func foreign(head []byte) error {
	for _, s := range signatures {
		if bytes.HasPrefix(head, []byte(s.first)) {
			return &ForeignError{Format: s.format, text: s.text}
		}
	}
	switch {
	case len(head) == 0:
		return &ForeignError{Format: "empty", text: ": it is empty"}
	case isText(head):
		return &ForeignError{Format: "text", text: ": it is text"}
	}
	return &ForeignError{}
}

// isText reports whether head, the first bytes of a file, is UTF-8 without control characters. Its last character may be
// incomplete.
func isText(head []byte) bool {
	for i := 0; i < utf8.UTFMax-1 && !utf8.Valid(head); i++ {
		head = head[:max(0, len(head)-1)]
	}
	return len(head) > 0 && utf8.Valid(head) && bytes.IndexFunc(head, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f
	}) < 0
}

// noRing is the error for a pcapng file without a ring. writer is the program that wrote the file, or "".
func noRing(writer string, user0 bool) error {
	e := &ForeignError{Format: "pcapng", Writer: writer}
	e.text = ": it is a pcapng file of another program"
	if writer != "" {
		e.text = ": it is a pcapng file that " + writer + " wrote"
	}
	if user0 {
		e.text += ", maybe a copy without what rbtool adds"
	}
	return e
}
