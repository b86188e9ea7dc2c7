package capture_test

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/capture"
)

// Write a capture to memory and read it. Before the second record, 24 bytes were lost.
func Example() {
	file, err := capture.AppendHeader(nil, capture.Info{Name: "events", ID: 12, Type: ebpf.RingBuf, Size: 4096})
	if err != nil {
		fmt.Println(err)
		return
	}
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	file = capture.AppendRecord(file, capture.Record{Pos: 0, Time: start, Data: []byte("first")})
	file = capture.AppendRecord(file, capture.Record{Pos: 40, Time: start.Add(time.Millisecond), Lost: 24, Data: []byte("second")})
	file = capture.AppendEnd(file, capture.End{Time: start.Add(time.Second), Pos: 56, Records: 2})

	r, err := capture.NewReader(bytes.NewReader(file))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.Info().Name)
	for {
		rec, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%s %d %q, lost %d\n", rec.Time.UTC().Format("05.000"), rec.Pos, rec.Data, rec.Lost)
	}
	fmt.Println(r.End().Records, "records")
	// Output:
	// events
	// 05.000 0 "first", lost 0
	// 05.001 40 "second", lost 24
	// 2 records
}
