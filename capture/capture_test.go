package capture_test

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/testenv"
)

func types(tb testing.TB) *decode.Set {
	tb.Helper()
	u32 := &btf.Int{Name: "u32", Size: 4}
	kind := &btf.Typedef{Name: "kind_t", Type: u32}
	where := func(tag uint64, t btf.Type) decode.Case {
		return decode.Case{Type: t, Tags: []decode.Tag{{Size: 4, Values: []uint64{tag}}}}
	}
	set, err := decode.NewCases([]decode.Case{
		where(1, &btf.Struct{Name: "one", Size: 8, Members: []btf.Member{{Name: "kind", Type: kind}, {Name: "a", Type: u32, Offset: 32}}}),
		where(2, &btf.Struct{Name: "two", Size: 8, Members: []btf.Member{{Name: "kind", Type: kind}, {Name: "b", Type: u32, Offset: 32}}}),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// records returns records whose lengths need padding, and records whose lengths do not.
func records() []capture.Record {
	at := time.Unix(1_700_000_000, 123_456_789)
	var list []capture.Record
	for i, data := range []string{"\x01\x00\x00\x00\x07\x00\x00\x00", "", "x", "abcd", "\x02\x00\x00\x00\x09\x00\x00\x00", "hello"} {
		list = append(list, capture.Record{Pos: uint64(i) * 16, Time: at.Add(time.Duration(i)), Data: []byte(data)})
	}
	list[3].Lost = 4096
	return list
}

func section() capture.Section {
	return capture.Section{
		Application: "rbtool test",
		Host:        capture.Host{Name: "lab", BootID: "4b2f", Kernel: "Linux 6.12.30", Machine: "x86_64"},
	}
}

// write returns a capture and the offset in it at which each of its records ends.
func write(tb testing.TB, finished bool) (file []byte, ends []int) {
	tb.Helper()
	file, err := capture.AppendHeader(nil, capture.Info{
		Name: "events", ID: 12, Type: ebpf.RingBuf, Size: 4096, Start: 48, Pin: "/sys/fs/bpf/events",
		Section: section(), Clocks: capture.Clocks{Monotonic: 1, Boottime: -2, TAI: 3}, Types: types(tb),
	})
	if err != nil {
		tb.Fatal(err)
	}
	for _, rec := range records() {
		file = capture.AppendRecord(file, rec)
		ends = append(ends, len(file))
	}
	if finished {
		file = capture.AppendEnd(file, capture.End{Time: time.Unix(5, 0), Pos: 96, Records: 6, Discarded: 3, Lost: 8})
	}
	return file, ends
}

// read returns the records of a capture, and the error that follows them.
func read(file []byte) (*capture.Reader, []capture.Record, error) {
	r, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, err
	}
	list, err := rest(r)
	return r, list, err
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	file, _ := write(t, true)
	r, got, err := read(file)
	if err != io.EOF {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records(), got); diff != "" {
		t.Error(diff)
	}
	want := capture.End{Time: time.Unix(5, 0), Pos: 96, Records: 6, Discarded: 3, Lost: 8}
	if r.End() == nil || *r.End() != want {
		t.Errorf("end: %+v", r.End())
	}
	info := r.Info()
	set := info.Types
	info.Types = nil
	said := capture.Info{
		Name: "events", ID: 12, Type: ebpf.RingBuf, Size: 4096, Start: 48, Pin: "/sys/fs/bpf/events",
		Section: section(), Clocks: capture.Clocks{Monotonic: 1, Boottime: -2, TAI: 3},
	}
	if diff := cmp.Diff(said, info); diff != "" {
		t.Error(diff)
	}
	for i, want := range map[int]string{0: `{"kind":1,"a":7}`, 4: `{"kind":2,"b":9}`} {
		dec, err := set.Codec(got[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := dec.AppendJSON(nil, got[i].Data); err != nil || string(out) != want {
			t.Errorf("record %d: %s, %v", i, out, err)
		}
	}
}

// A capture that is truncated at any byte is readable up to its last complete record, and then reports
// ErrUnfinished.
func TestCutAnywhere(t *testing.T) {
	file, ends := write(t, true)
	for n := range len(file) {
		_, got, err := read(file[:n])
		whole := 0
		for whole < len(ends) && ends[whole] <= n {
			whole++
		}
		if len(got) != whole || (whole > 0 && !cmp.Equal(records()[:whole], got)) {
			t.Fatalf("cut at %d: %d records, want %d", n, len(got), whole)
		}
		if !errors.Is(err, capture.ErrUnfinished) && !(whole == 0 && errors.Is(err, capture.ErrFormat)) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// Wireshark accepts packets up to 256 KiB, and from a pipe blocks up to 256 KiB. A record can have 1 GiB.
func TestLongRecords(t *testing.T) {
	if testenv.InGuest() {
		return
	}
	info := capture.Info{Name: "events", Type: ebpf.RingBuf, Size: 1 << 26}
	file, err := capture.AppendHeader(nil, info)
	if err != nil {
		t.Fatal(err)
	}
	var want []capture.Record
	for i, n := range []int{256 << 10, 256<<10 + 1, 9<<20 + 3, 17 << 20, 8} {
		rec := capture.Record{Pos: uint64(i) << 25, Time: time.Unix(5, int64(i)), Data: bytes.Repeat([]byte{byte(i), 1, 2}, n/3+1)[:n]}
		want = append(want, rec)
		file = capture.AppendRecord(file, rec)
	}
	file = capture.AppendEnd(file, capture.End{Time: time.Unix(6, 0), Records: 5})
	// go-cmp would take minutes for records of this size.
	same := func(a, b capture.Record) bool {
		return a.Pos == b.Pos && a.Time.Equal(b.Time) && bytes.Equal(a.Data, b.Data)
	}
	if _, got, err := read(file); err != io.EOF || !slices.EqualFunc(want, got, same) {
		t.Errorf("%d records are read, or they differ: %v", len(got), err)
	}
	blocksAreShort(t, file)
	tsharkReads(t, file, "0 262144 261888\n33554432 262145 261888\n67108864 9437187 261888\n100663296 17825792 261888\n134217728 8 8\n")
}

// blocksAreShort checks that Wireshark takes the blocks of a file from a pipe.
func blocksAreShort(t *testing.T, file []byte) {
	t.Helper()
	for b := file; len(b) > 0; b = b[binary.LittleEndian.Uint32(b[4:]):] {
		if typ, length := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]); length > 256<<10 {
			t.Errorf("a block of type %#x has %d bytes", typ, length)
		}
	}
}

// Long types are in several blocks. Parts that do not fit are an error.
func TestLongTypes(t *testing.T) {
	enum := &btf.Enum{Name: "many", Size: 4}
	for i := range 30_000 {
		enum.Values = append(enum.Values, btf.EnumValue{Name: fmt.Sprintf("ENUMERATOR_%d", i), Value: uint64(i)})
	}
	set, err := decode.NewSet(enum)
	if err != nil {
		t.Fatal(err)
	}
	file := capture.AppendSection(nil, section())
	for i := range 2 {
		if file, err = capture.AppendRing(file, i, capture.Info{Type: ebpf.RingBuf, Types: set}); err != nil {
			t.Fatal(err)
		}
	}
	blocksAreShort(t, file)
	r, _, err := read(file)
	if !errors.Is(err, capture.ErrUnfinished) {
		t.Fatal(err)
	}
	for _, ring := range r.Rings() {
		if out, err := ring.Types.Codecs()[0].AppendText(nil, []byte{0x2f, 0x75, 0, 0}); err != nil || string(out) != "ENUMERATOR_29999" {
			t.Errorf("types %v: %s, %v", ring.Types, out, err)
		}
	}
	first := bytes.Index(file, []byte("\x62\x72\x00\x80"))
	length := int(binary.LittleEndian.Uint32(file[first+4:]))
	second := int(binary.LittleEndian.Uint32(file[first+length+4:]))
	for name, damaged := range map[string][]byte{
		"a part twice":   append(bytes.Clone(file[:first+length+second]), file[first+length:]...),
		"no first part":  append(bytes.Clone(file[:first]), file[first+length:]...),
		"another length": bytes.Replace(bytes.Clone(file), file[first+16:first+20], []byte{1, 0, 0, 0}, 1),
		"a huge length":  bytes.Replace(bytes.Clone(file), file[first+16:first+20], []byte{0xff, 0xff, 0xff, 0xff}, 1),
	} {
		if _, _, err := read(damaged); !errors.Is(err, capture.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// tsharkReads checks the position, length and captured length that tshark prints for each packet.
func tsharkReads(t *testing.T, file []byte, want string) {
	t.Helper()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		testenv.SkipWithout(t, "tshark", err)
	}
	cmd := exec.Command(tshark, "-r", "-", "-T", "fields", "-E", "separator= ", "-e", "frame.packet_id", "-e", "frame.len", "-e", "frame.cap_len")
	cmd.Stdin = bytes.NewReader(file)
	if out, err := cmd.Output(); err != nil || string(out) != want {
		t.Errorf("tshark: %v\n%s", err, out)
	}
}

func TestTheRestOfALongRecordIsChecked(t *testing.T) {
	header, err := capture.AppendHeader(nil, capture.Info{Type: ebpf.RingBuf, Size: 1 << 26})
	if err != nil {
		t.Fatal(err)
	}
	long := capture.AppendRecord(header, capture.Record{Data: make([]byte, 256<<10+1)})
	rest := long[len(long)-16:]
	for name, file := range map[string][]byte{
		"cut before it":      long[:len(long)-16],
		"cut in it":          long[:len(long)-1],
		"another record":     append(bytes.Clone(long[:len(long)-16]), long[len(header):]...),
		"more than is to be": append(bytes.Clone(long[:len(long)-16]), "\x63\x72\x00\x80\x14\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x14\x00\x00\x00"...),
		"an empty block":     append(append(bytes.Clone(long[:len(long)-16]), "\x63\x72\x00\x80\x0c\x00\x00\x00\x0c\x00\x00\x00"...), rest...),
	} {
		_, got, err := read(file)
		if len(got) > 0 || !errors.Is(err, capture.ErrFormat) && !errors.Is(err, capture.ErrUnfinished) {
			t.Errorf("%s: %d records, %v", name, len(got), err)
		}
	}
}

// A file can hold several captures.
func TestConcatenated(t *testing.T) {
	file, _ := write(t, true)
	_, got, err := read(append(bytes.Clone(file), file...))
	if err != io.EOF || len(got) != 2*len(records()) {
		t.Errorf("%d records, %v", len(got), err)
	}
}

// bomb returns an ELF file whose .BTF section decompresses to size bytes.
func bomb(tb testing.TB, size uint64) []byte {
	tb.Helper()
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	for range size >> 20 {
		z.Write(make([]byte, 1<<20))
	}
	z.Close()
	const names = "\x00.BTF\x00.shstrtab\x00"
	content := 64 + uint64(len(names))
	at := content + 24 + uint64(packed.Len())
	h := elf.Header64{Type: uint16(elf.ET_REL), Version: 1, Shoff: at, Shentsize: 64, Shnum: 4, Shstrndx: 2}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	file, err := binary.Append(nil, binary.LittleEndian, h)
	if err != nil {
		tb.Fatal(err)
	}
	file = append(file, names...)
	file, _ = binary.Append(file, binary.LittleEndian, elf.Chdr64{Type: uint32(elf.COMPRESS_ZLIB), Size: size, Addralign: 1})
	file = append(file, packed.Bytes()...)
	file, _ = binary.Append(file, binary.LittleEndian, []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Flags: uint64(elf.SHF_COMPRESSED), Off: content, Size: uint64(24 + packed.Len())},
		{Name: 6, Type: uint32(elf.SHT_STRTAB), Off: 64, Size: uint64(len(names))},
		{Type: uint32(elf.SHT_SYMTAB), Size: elf.Sym64Size, Entsize: elf.Sym64Size, Link: 2},
	})
	return file
}

// The types of a capture must be raw BTF. An ELF file with compressed sections is refused and not decompressed.
func TestTypesAreNotUnpacked(t *testing.T) {
	file, _ := write(t, true)
	blockType := []byte{0x62, 0x72, 0x00, 0x80}
	at := bytes.Index(file, blockType)
	length := binary.LittleEndian.Uint32(file[at+4:])
	text := binary.LittleEndian.Uint32(file[at+8+12:])
	list := file[at+8 : at+8+16+int(text)] // the block up to the BTF
	types := bomb(t, 64<<20)
	body := append(bytes.Clone(list), binary.LittleEndian.AppendUint32(nil, uint32(len(types)))...)
	body = append(body, types...)
	body = append(body, make([]byte, -len(body)&3)...)
	block := binary.LittleEndian.AppendUint32(bytes.Clone(blockType), uint32(len(body)+12))
	block = append(block, body...)
	block = binary.LittleEndian.AppendUint32(block, uint32(len(body)+12))
	file = append(append(bytes.Clone(file[:at]), block...), file[at+int(length):]...)
	var err error
	allocated := testenv.Allocated(func() { _, _, err = read(file) })
	if !errors.Is(err, capture.ErrFormat) || !strings.Contains(err.Error(), "types: not BTF") || allocated > 4<<20 {
		t.Errorf("%v, %d bytes allocated", err, allocated)
	}
}

// zeros returns a reader of n zero bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// A sparse file can have blocks of any size that take no space on disk. Memory is bounded for all blocks except
// those of records.
func TestTheMemoryForBlocksIsBounded(t *testing.T) {
	file, ends := write(t, true)
	const size = 256 << 20
	for name, typ := range map[string]uint32{
		"another's":     0x99,
		"of a section":  0x0a0d0d0a,
		"of a ring":     1,
		"of statistics": 5,
		"of types":      0x80007262,
	} {
		head := binary.LittleEndian.AppendUint32(nil, typ)
		head = binary.LittleEndian.AppendUint32(head, size)
		tail := binary.LittleEndian.AppendUint32(nil, size)
		r := io.MultiReader(bytes.NewReader(file[:ends[0]]), bytes.NewReader(head), zeros(size-12), bytes.NewReader(tail),
			bytes.NewReader(file[ends[0]:]))
		var err error
		allocated := testenv.Allocated(func() {
			var c *capture.Reader
			if c, err = capture.NewReader(r); err == nil {
				for err == nil {
					_, err = c.Next()
				}
			}
		})
		if want := map[bool]error{true: io.EOF, false: capture.ErrFormat}[typ == 0x99]; !errors.Is(err, want) || allocated > 4<<20 {
			t.Errorf("a block %s: %v, %d bytes allocated", name, err, allocated)
		}
	}
}

// FuzzReader reads arbitrary files. A file must not yield more bytes of records than it has.
func FuzzReader(f *testing.F) {
	finished, _ := write(f, true)
	cut, _ := write(f, false)
	f.Add(finished)
	f.Add(cut)
	f.Add(several(f))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, list, err := read(file)
		if err != io.EOF && !errors.Is(err, capture.ErrFormat) && !errors.Is(err, capture.ErrUnfinished) {
			t.Fatal(err)
		}
		for r != nil && r.Resume() {
			more, _ := rest(r)
			list = append(list, more...)
		}
		if r != nil && r.Skipped() > int64(len(file)) {
			t.Fatalf("%d bytes left out of %d", r.Skipped(), len(file))
		}
		bytes := 0
		for _, rec := range list {
			bytes += len(rec.Data) + 12
			if r.Info().Types != nil {
				if dec, err := r.Info().Types.Codec(rec.Data); err == nil {
					dec.AppendJSON(nil, rec.Data)
				}
			}
		}
		if bytes > len(file) {
			t.Fatalf("%d bytes of records in a file of %d", bytes, len(file))
		}
	})
}
