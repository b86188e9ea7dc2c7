package cli

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/capture"
)

// A pipe whose writer stays ends with the time of --until: when later records come, and when none comes.
func TestReplayUntilEndsInAPipe(t *testing.T) {
	if testing.Short() {
		return // the same on every kernel
	}
	header, err := capture.AppendHeader(nil, capture.Info{Type: ebpf.RingBuf, Size: 4096})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, tt := range map[string]struct {
		until time.Time
		after []time.Duration // records, by when they were read
		want  string
	}{
		"later records come": {now, []time.Duration{-time.Second, 100 * time.Millisecond, -time.Millisecond, 2 * time.Second}, "00\n02\n"},
		"none comes":         {now.Add(500 * time.Millisecond), []time.Duration{-time.Second}, "00\n"},
		"none was there":     {now.Add(500 * time.Millisecond), nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := header
			for i, d := range tt.after {
				file = capture.AppendRecord(file[:len(file):len(file)], capture.Record{Time: now.Add(d), Pos: uint64(i) * 16, Data: []byte{byte(i)}})
			}
			cmd := rbtool(t, "replay", "-", "-o", "hex", "--until", tt.until.Format(time.RFC3339Nano))
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			stdin, writer := io.Pipe()
			defer writer.Close()
			cmd.Stdin = stdin
			go writer.Write(file)
			// The command's copier waits for the writer: it ends when the pipe does.
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := cmd.Process.Wait(); err != nil {
				t.Fatal(err)
			}
			writer.Close()
			cmd.Wait()
			if stdout.String() != tt.want || !strings.Contains(stderr.String(), "note: reading ended 1s after --until: ") {
				t.Errorf("stdout %q, stderr %q", &stdout, &stderr)
			}
		})
	}
}
