// Package capture writes and reads files of a ring's records: their bytes, positions and
// times, what was lost between them, and their types.
//
// A capture is a pcapng file (docs/capture.md): Wireshark and its tools open it. It is
// written block by block, each of which says its length at both ends, so that a file whose
// writer was killed, or that was cut off anywhere, can be read to its last whole
// record:
//
//	buf, err := capture.AppendHeader(nil, capture.Info{Name: "events", Type: ebpf.RingBuf, Size: size})
//	...
//	buf = capture.AppendRecord(buf, capture.Record{Pos: rec.Pos, Time: time.Now(), Data: rec.Data})
//	...
//	buf = capture.AppendEnd(buf, capture.End{Records: n})
//
// and read by
//
//	r, err := capture.NewReader(file)
//	...
//	for {
//		rec, err := r.Next()
//		if err == io.EOF {
//			break
//		}
//		...
//	}
//
// # Trust
//
// A file is not trusted: what does not fit the format is an error that is [ErrFormat], and
// memory is taken only for what is read.
package capture
