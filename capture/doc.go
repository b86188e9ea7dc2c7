// Package capture writes and reads files of a ring's records: their bytes, positions and
// times, the losses between them, and their types.
//
// A capture is a pcapng file (docs/capture.md), which Wireshark and its tools open. Each
// block has its length at both ends. So a file whose writer was killed, or that was
// truncated anywhere, is readable up to its last whole record.
//
// The Append functions make the parts of a file; the caller writes them. They hold no
// state, so any number of goroutines can call them at once:
//
//	buf, err := capture.AppendHeader(nil, capture.Info{Name: "events", Type: ebpf.RingBuf, Size: size})
//	...
//	buf = capture.AppendRecord(buf, capture.Record{Pos: rec.Pos, Time: time.Now(), Data: rec.Data})
//	...
//	buf = capture.AppendEnd(buf, capture.End{Records: n})
//
// A [Reader] reads them:
//
//	r, err := capture.NewReader(bufio.NewReader(file))
//	...
//	for {
//		rec, err := r.Next()
//		if err == io.EOF {
//			break
//		}
//		...
//	}
//
// It is also a [consumer.Source], for code that takes records of rings.
//
// # Trust
//
// Files are not trusted. What does not fit the format is an error that matches [ErrFormat],
// and memory grows with what is read, not with the lengths that a file states.
package capture
