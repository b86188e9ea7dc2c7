package proctrace

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestDecodeRefusesWhatIsNoRecord(t *testing.T) {
	for name, record := range map[string][]byte{
		"nothing":         nil,
		"three bytes":     {1, 0, 0},
		"type 0":          make([]byte, 72),
		"type 5":          {5, 72: 0},
		"a short fork":    {1, 62: 0},
		"a short exec":    {2, 70: 0},
		"a short exit":    {3, 70: 0},
		"a short ack":     {4, 62: 0},
		"a type too wide": {1, 0, 0, 1, 72: 0},
	} {
		if _, err := Decode(record); !errors.Is(err, ErrRecord) {
			t.Errorf("%s: %v, want ErrRecord", name, err)
		}
	}
}

// Records without stacks, as old versions write them, are decoded too.
func TestDecodeRecordsWithoutStacks(t *testing.T) {
	const header = 64
	exec := append([]byte{byte(Exec), header + 4: 6, header + 7: 0}, "/true\x00"...)
	exit := []byte{byte(Exit), header: 3, header + 7: 1}
	for _, test := range []struct {
		name   string
		record []byte
		want   Event
	}{
		{"exec", exec, Event{Type: Exec, Filename: "/true", KernelStack: noStack, UserStack: noStack}},
		{"exit", exit, Event{Type: Exit, ExitCode: 3, GroupDead: true, KernelStack: noStack, UserStack: noStack}},
		{"exec with stacks", slices.Concat(exec[:header+8], []byte{7, 0, 0, 0, 0xef, 0xff, 0xff, 0xff}, exec[header+8:]),
			Event{Type: Exec, Filename: "/true", KernelStack: 7, UserStack: -17}},
		{"exit with stacks", slices.Concat(exit, []byte{7, 0, 0, 0, 0xf2, 0xff, 0xff, 0xff}),
			Event{Type: Exit, ExitCode: 3, GroupDead: true, KernelStack: 7, UserStack: -14}},
	} {
		got, err := Decode(test.record)
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", test.name, err, diff)
		}
	}
	if err := stackError(-17); !errors.Is(err, errStackLost) {
		t.Errorf("-17 is %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	for _, typ := range []byte{1, 2, 3, 4} {
		f.Add(append([]byte{typ, 0, 0, 0}, make([]byte, 80)...))
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		e, err := Decode(record)
		if err != nil && !errors.Is(err, ErrRecord) {
			t.Errorf("Decode: %v", err)
		}
		if err == nil && (len(record) < e.Type.size() || len(e.Filename) > len(record) || len(e.Comm) > 16) {
			t.Errorf("%d bytes: %+v", len(record), e)
		}
	})
}

func TestUseAfterClose(t *testing.T) {
	testenv.NoLeaks(t)
	tr, err := Load(Options{RingBytes: uint32(os.Getpagesize())})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := tr.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := tr.Attach(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Attach: %v, want ErrClosed", err)
	}
	if err := tr.Pin("/sys/fs/bpf/rbtool-test-closed"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Pin: %v, want ErrClosed", err)
	}
	if _, err := tr.Stats(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Stats: %v, want ErrClosed", err)
	}
}

func TestBadRingSize(t *testing.T) {
	testenv.NoLeaks(t)
	if _, err := Load(Options{RingBytes: 5000}); err == nil {
		t.Error("a ring of 5000 bytes is loaded")
	} else {
		t.Log(err)
	}
}

func BenchmarkDecode(b *testing.B) {
	record := make([]byte, 90)
	record[0] = byte(Exec)
	copy(record[48:], "true")
	copy(record[72:], "/usr/bin/true")
	for b.Loop() {
		if _, err := Decode(record); err != nil {
			b.Fatal(err)
		}
	}
}
