package capture_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/rbtool/rbtool/capture"
)

func TestForeignFiles(t *testing.T) {
	file, _ := write(t, true)
	for name, damage := range map[string]func([]byte) []byte{
		"big endian":     func(b []byte) []byte { copy(b[8:], "\x1a\x2b\x3c\x4d"); return b },
		"a false length": func(b []byte) []byte { b[4] = 0xfe; return b },
		"no ring": func(b []byte) []byte {
			return bytes.Replace(b, []byte{0x01, 0x80, 24, 0}, []byte{0x01, 0x90, 24, 0}, 1)
		},
		"a huge block": func(b []byte) []byte { copy(b[4:], "\xfc\xff\xff\xff"); return b },
	} {
		if _, _, err := read(damage(bytes.Clone(file))); !errors.Is(err, capture.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An error says what a file is that is not a capture.
func TestForeignFormats(t *testing.T) {
	file, _ := write(t, true)
	bigEndian := append(bytes.Clone(file[:8]), "\x1a\x2b\x3c\x4d"...)
	bigEndian = append(bigEndian, file[12:]...)
	other := bytes.Replace(bytes.Clone(file), []byte{0x01, 0x80, 24, 0}, []byte{0x01, 0x90, 24, 0}, 1)
	for _, test := range []struct {
		file         []byte
		format, says string
	}{
		{nil, "empty", "it is empty"},
		{[]byte("hello, this is no capture at all"), "text", "it is text"},
		{[]byte("{}\n"), "text", "it is text"},
		{[]byte("grün ü"), "text", "it is text"},
		{[]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"), "gzip", "compressed by gzip"},
		{[]byte("\x28\xb5\x2f\xfd"), "zstd", "compressed by zstd"},
		{[]byte("\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00\x00\x00\x00"), "pcap", "pcap file with network packets"},
		{[]byte("\xa1\xb2\xc3\xd4\x00\x02\x00\x04"), "pcap", "pcap file with network packets"},
		{[]byte("\x7fELF\x02\x01\x01\x00"), "elf", "ELF"},
		{[]byte("\x9f\xeb\x01\x00\x18\x00\x00\x00"), "btf", "BTF"},
		{[]byte("\x10\x00\x00\x00\x02\x00\x00\x00\x00"), "", "not a capture of rbtool"},
		{bigEndian, "pcapng", "another byte order"},
		{other, "pcapng", "a pcapng file that rbtool test wrote, maybe a copy"},
	} {
		_, err := capture.NewReader(bytes.NewReader(test.file))
		foreign, ok := errors.AsType[*capture.ForeignError](err)
		if !ok || foreign.Format != test.format || !strings.HasSuffix(err.Error(), foreign.Error()) ||
			!strings.Contains(err.Error(), test.says) || !errors.Is(err, capture.ErrFormat) {
			t.Errorf("%q: %v (%+v)", test.file[:min(8, len(test.file))], err, foreign)
		}
	}
}
