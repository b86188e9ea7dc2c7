package host

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/mapflag"
)

// Scripts depend on these member names.
func TestMapJSON(t *testing.T) {
	pos := uint64(16)
	m := inspect.Map{
		ID: 12, Name: "events", Type: ebpf.RingBuf, Bytes: 4096, Flags: mapflag.RBOverwrite, Memory: 12632,
		Positions: &inspect.Positions{Consumer: 16, Producer: 1040, Pending: &pos, Overwrite: &pos, Backlog: 1024, Fill: 0.25, Busy: &inspect.Busy{Pos: 16, Len: 100}},
		Users:     []inspect.User{{PID: 7, Comm: "agent", Home: inspect.Home{Unit: "agent.service"}, Holds: true, Mapped: true, Consumes: true, Exact: true}},
		Programs:  []inspect.Program{{ID: 3, Name: "on_exec", Type: ebpf.RawTracepoint, Via: 11, Attached: []inspect.Attachment{{Link: 5, Type: "raw_tracepoint", Target: "sched_process_exec"}}}},
		Pins:      []string{"/sys/fs/bpf/events"},
	}
	arena := inspect.Map{ID: 13, Type: ebpf.Arena, Bytes: 1 << 32, Flags: unix.BPF_F_MMAPABLE, MapExtra: 1 << 44, Arena: &inspect.Arena{UserBase: 1 << 44}, Notes: []string{"programs unknown"}}
	flowing := inspect.Map{ID: 14, Type: ebpf.UserRingbuf, Positions: &inspect.Positions{}, UnseenWriters: 2, Flow: &inspect.Flow{
		Produced: inspect.Total{Hi: 1, Lo: 5}, Consumed: inspect.Total{Lo: 1<<64 - 1}, ProducedRate: 1.5, ConsumedRate: 2, HighWater: 64,
		Saturated: 1500 * time.Millisecond, Lag: time.Second, LagAtLeast: true, State: inspect.ConsumerStuck, StuckFor: 2 * time.Second, Rates: []float64{1},
	}}
	want := []string{
		`{"id":12,"name":"events","type":"ringbuf","bytes":4096,"flags":524288,"map_extra":0,"memory":12632,` +
			`"consumer_pos":16,"producer_pos":1040,"pending_pos":16,"overwrite_pos":16,"backlog":1024,"fill":0.25,"busy":{"pos":16,"len":100},` +
			`"owners":[{"pid":7,"comm":"agent","self":false,"unit":"agent.service","holds":true,"mapped":true,"consumes":true,"produces":false,"exact":true}],` +
			`"programs":[{"id":3,"name":"on_exec","type":"rawtracepoint","via":11,` +
			`"attached":[{"link":5,"type":"raw_tracepoint","target":"sched_process_exec"}]}],"pins":["/sys/fs/bpf/events"]}`,
		`{"id":13,"name":"","type":"arena","bytes":4294967296,"flags":1024,"map_extra":17592186044416,"memory":0,"user_base":17592186044416,` +
			`"owners":null,"programs":null,"pins":null,"notes":["programs unknown"]}`,
		`{"id":14,"name":"","type":"user_ringbuf","bytes":0,"flags":0,"map_extra":0,"memory":0,"consumer_pos":0,"producer_pos":0,"backlog":0,"fill":0,` +
			`"owners":null,"unseen_writers":2,"programs":null,"pins":null,` +
			`"produced_bytes":18446744073709552000,"consumed_bytes":18446744073709551615,"overwritten_bytes":0,` +
			`"produced_bytes_per_second":1.5,"consumed_bytes_per_second":2,"high_water_bytes":64,"saturated_seconds":1.5,` +
			`"lag_seconds":1,"lag_at_least":true,"state":"consumer_stuck","stuck_seconds":2}`,
	}
	for i, m := range []inspect.Map{m, arena, flowing} {
		got, err := command.AppendJSON(nil, jsonMap(&m))
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(want[i], string(got)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
