package proctrace

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/bpf/tracering"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// mirrors has the generated Go struct for each C struct.
var mirrors = map[string]reflect.Type{
	"event_counts": reflect.TypeFor[bpfEventCounts](),
	"fork_event":   reflect.TypeFor[bpfForkEvent](),
	"exec_event":   reflect.TypeFor[bpfExecEvent](),
	"exit_event":   reflect.TypeFor[bpfExitEvent](),
}

// field is the offset and size of a field, in bytes.
type field struct {
	Name         string
	Offset, Size int
}

func fieldsOfGo(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name != "_" {
			fields = append(fields, field{strings.ToLower(f.Name), int(f.Offset), int(f.Type.Size())})
		}
	}
	size := int(t.Size())
	if last := fields[len(fields)-1]; last.Size == 0 {
		size = last.Offset // the Go struct has padding at its end, see Type.size
	}
	return append(fields, field{"", 0, size})
}

func fieldsOfC(t *testing.T, s *btf.Struct) []field {
	t.Helper()
	var fields []field
	for _, m := range s.Members {
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		fields = append(fields, field{strings.ReplaceAll(m.Name, "_", ""), int(m.Offset.Bytes()), size})
	}
	return append(fields, field{"", 0, int(s.Size)})
}

// checkLayout compares the Go struct that mirrors a C struct with the BTF of the C struct.
func checkLayout(t *testing.T, spec *btf.Spec, name string) {
	t.Helper()
	typ, err := decode.Find(spec, name)
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(fieldsOfC(t, typ.(*btf.Struct)), fieldsOfGo(mirrors[name])); diff != "" {
		t.Errorf("layout of %s (-C +Go):\n%s", name, diff)
	}
}

func TestMirrorsHaveTheLayoutOfTheObjectFile(t *testing.T) {
	collection, err := loadBpf()
	if err != nil {
		t.Fatal(err)
	}
	spec := collection.Types
	for name := range mirrors {
		checkLayout(t, spec, name)
	}
	// Decode reads the common fields with the Go struct of a fork_event.
	common := fieldsOfGo(mirrors["fork_event"])
	common = common[:len(common)-1]
	for name, typ := range mirrors {
		if name == "event_counts" {
			continue
		}
		if diff := cmp.Diff(common, fieldsOfGo(typ)[:len(common)]); diff != "" {
			t.Errorf("%s does not begin as fork_event (-want +got):\n%s", name, diff)
		}
	}
	const stacksSize = 8
	if want, got := Exec.size()+stacksSize+filenameMax, int(collection.Maps[bpfMapScratch].ValueSize); want != got {
		t.Errorf("the largest exec_event has %d bytes in C, %d in Go", got, want)
	}
}

func TestMirrorsHaveTheLayoutOfTheLoadedPrograms(t *testing.T) {
	testenv.NoLeaks(t)
	tr, err := Load(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	set, err := installed(tr.handlers)
	if err != nil {
		t.Fatal(err)
	}
	defer set.close()
	for _, h := range hooks {
		handle, err := set[slot(0, h.typ)].Handle()
		if err != nil {
			t.Fatal(err)
		}
		defer handle.Close()
		spec, err := handle.Spec(nil)
		if err != nil {
			t.Fatal(err)
		}
		checkLayout(t, spec, h.typ.String())
	}
}

// TestRecordsDecodeByTheBTFOfTheRing decodes the records of a ring as another process would that
// knows only the pin.
func TestRecordsDecodeByTheBTFOfTheRing(t *testing.T) {
	testenv.NoLeaks(t)
	dir := filepath.Join(testenv.BPFFS(t), "tracer")
	pinned(t, dir)
	defer Remove(dir)
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	ring, err := ebpf.LoadPinnedMap(filepath.Join(dir, pinEvents), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	loaded, err := decoderOf(ring)
	if err != nil {
		t.Fatal(err)
	}
	bundled, err := decoder()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	consume(t, ring, func(record []byte) {
		e, err := Decode(record)
		if err != nil {
			t.Fatal(err)
		}
		text := asJSON(t, loaded, record)
		if diff := cmp.Diff(asJSON(t, bundled, record), text); diff != "" {
			t.Errorf("by the BTF of the file and of the program (-file +program):\n%s", diff)
		}
		checkJSON(t, e, text)
		if e.TGID == uint32(cmd.Process.Pid) {
			got = append(got, e.Type.String())
		}
	})
	if diff := cmp.Diff([]string{"fork_event", "exec_event", "exit_event"}, got); diff != "" {
		t.Errorf("events of the process (-want +got):\n%s", diff)
	}
}

// decoderOf returns a decoder for the records of a ring that uses the BTF of the programs that
// write them.
func decoderOf(ring *ebpf.Map) (*decode.Set, error) {
	types, err := tracering.Types(ring)
	if err != nil {
		return nil, err
	}
	return decode.NewSet(types...)
}

// decoder returns a decoder for records that uses the BTF of this version.
func decoder() (*decode.Set, error) {
	var types []btf.Type
	for _, typ := range []Type{Fork, Exec, Exit, Ack} {
		s, err := StructType(typ.String())
		if err != nil {
			return nil, err
		}
		types = append(types, s)
	}
	return decode.NewSet(types...)
}

func TestStructTypeOfAnotherName(t *testing.T) {
	if _, err := StructType("process_entry"); err != nil {
		t.Error(err)
	}
	if s, err := StructType("task_struct_of_nobody"); !errors.Is(err, btf.ErrNotFound) {
		t.Errorf("%v, %v", s, err)
	}
}

func asJSON(t *testing.T, set *decode.Set, record []byte) string {
	t.Helper()
	d, err := set.Codec(record)
	if err != nil {
		t.Fatal(err)
	}
	text, err := d.AppendJSON(nil, record)
	if err != nil {
		t.Fatal(err)
	}
	return d.Name() + string(text)
}

// checkJSON compares the JSON that package decode makes of a record with the Event.
func checkJSON(t *testing.T, e Event, text string) {
	t.Helper()
	text, ok := strings.CutPrefix(text, e.Type.String())
	if !ok {
		t.Errorf("%s is no %s", text, e.Type)
	}
	j := struct {
		Type                      string
		CPU, PID, TGID, PPID, UID uint32
		Ktime                     uint64
		StartTime                 uint64 `json:"start_time"`
		CgroupID                  uint64 `json:"cgroup_id"`
		Comm, Filename            string
		OldPID                    uint32 `json:"old_pid"`
		ExitCode                  uint32 `json:"exit_code"`
		Signal                    uint16
		CoreDumped                bool  `json:"core_dumped"`
		GroupDead                 bool  `json:"group_dead"`
		KernelStack               int32 `json:"kernel_stack"`
		UserStack                 int32 `json:"user_stack"`
	}{KernelStack: noStack, UserStack: noStack}
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		t.Fatal(err)
	}
	if want := strings.ToUpper(e.Type.String()); j.Type != want {
		t.Errorf("type is %s, want %s", j.Type, want)
	}
	got := Event{
		Type: e.Type, CPU: j.CPU, PID: j.PID, TGID: j.TGID, PPID: j.PPID, UID: j.UID,
		Ktime: j.Ktime, StartTime: j.StartTime, CgroupID: j.CgroupID, Comm: j.Comm,
		Filename: j.Filename, OldPID: j.OldPID,
		ExitCode: j.ExitCode, Signal: j.Signal, CoreDumped: j.CoreDumped, GroupDead: j.GroupDead,
		KernelStack: j.KernelStack, UserStack: j.UserStack,
	}
	if diff := cmp.Diff(e, got); diff != "" {
		t.Errorf("event (-Decode +JSON):\n%s", diff)
	}
}

// Package tracering recognizes the programs and the ring by their names.
func TestTraceringKnowsThePrograms(t *testing.T) {
	testenv.NoLeaks(t)
	if bpfMapEvents != tracering.Name {
		t.Errorf("the ring is called %s", bpfMapEvents)
	}
	tr := trace(t, Options{})
	want := []string{"exec_event", "exit_event", "fork_event"}
	if tr.control != nil {
		want = append([]string{"ack_event"}, want...)
	}
	var got []string
	err := tracering.Visit(tr.Events(), func(_ *ebpf.Program, record string) error {
		got = append(got, record)
		return nil
	})
	slices.Sort(got)
	if diff := cmp.Diff(want, slices.Compact(got)); diff != "" || err != nil {
		t.Errorf("%v: records (-want +got):\n%s", err, diff)
	}
}

func TestOtherRingsAreNotTraced(t *testing.T) {
	testenv.NoLeaks(t)
	page := uint32(os.Getpagesize())
	named := func() *ebpf.Map {
		return testenv.Map(t, &ebpf.MapSpec{Name: bpfMapEvents, Type: ebpf.RingBuf, MaxEntries: page})
	}
	anothers := named()
	p, err := producer.Load(anothers)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Size: 8, Count: 1}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		rule string
		ring *ebpf.Map
		want error
	}{
		{"of another name", testenv.Ring(t, page), tracering.ErrNotTraced},
		{"of another type", testenv.Map(t, &ebpf.MapSpec{Name: bpfMapEvents, Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1}), tracering.ErrNotTraced},
		{"of another program", anothers, tracering.ErrNotTraced},
		{"without a program", named(), tracering.ErrStopped},
	}
	for _, tt := range tests {
		if _, err := tracering.Types(tt.ring); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.rule, err, tt.want)
		}
	}
}
