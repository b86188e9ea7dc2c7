package host

import (
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/inspect"
)

func TestDescribe(t *testing.T) {
	pending := uint64(64)
	rows := describe(&inspect.Map{
		ID: 12, Name: "trace_events", Type: ebpf.RingBuf, Bytes: 4096,
		Positions: &inspect.Positions{Consumer: 64, Producer: 128, Pending: &pending, Backlog: 64, Fill: 1.0 / 64},
		Users: []inspect.User{
			{PID: 7, Comm: "agent", Consumes: true, Home: inspect.Home{Runtime: "containerd", Container: "0123", Pod: "0f1e"}},
			{PID: 8, Comm: "shell", Holds: true},
		},
		Pins: []string{"/sys/fs/bpf/events", "/sys/fs/bpf/trace_events"},
	}, nil)
	at := slices.IndexFunc(rows, func(row []string) bool { return row[0] == "pending" })
	want := [][]string{
		{"pending", "64 (records before it are complete; only a reservation moves it)"},
		{"backlog", "64 bytes, 1.6% full"},
		{"owner", "agent (pid 7 in containerd:0123 of pod 0f1e): consumes"},
		{"", "shell (pid 8): holds a descriptor"},
		{"program", "unknown"},
		{"pin", "/sys/fs/bpf/events (name in the kernel: trace_events)"},
		{"", "/sys/fs/bpf/trace_events"},
	}
	if diff := gocmp.Diff(want, rows[at:]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestOwnersOfOneLine(t *testing.T) {
	m := inspect.Map{UnseenWriters: 1, Users: []inspect.User{
		{PID: 7, Comm: "agent", Consumes: true, Home: inspect.Home{Unit: "agent.service"}},
		{PID: 8, Comm: "shell", Holds: true, Home: inspect.Home{Unit: "session-3.scope"}},
	}}
	if got, want := owners(&m), "agent(7)*@agent.service,shell(8),(unseen)*"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
