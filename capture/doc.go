// Package capture writes and reads files of the records of rings: their bytes, positions and
// times, the losses between them, and their types. A file says on which host it was recorded
// ([Host]), and from which maps ([Info]).
//
// A capture is a pcapng file (docs/capture.md), which Wireshark and its tools can open. Each
// block has its length at both ends. So a file whose writer was killed, or that was
// truncated anywhere, is readable up to its last complete record.
//
// A file holds the records of one ring or several, in the order in which they were read; each
// ring is an interface of pcapng. [AppendHeader] begins a file of one ring, [AppendSection] and
// [AppendRing] one of several.
//
// The Append functions make the parts of a file: a header, any number of records, and an end.
// The caller writes the parts to the file. The functions have no state and keep no arguments,
// so any number of goroutines can call them at once:
//
//	buf, err := capture.AppendHeader(nil, capture.Info{Name: "events", Type: ebpf.RingBuf, Size: size})
//	...
//	buf = capture.AppendRecord(buf, capture.Record{Pos: rec.Pos, Time: time.Now(), Data: rec.Data})
//	...
//	buf = capture.AppendEnd(buf, capture.End{Records: n})
//
// A [Reader] reads a capture:
//
//	r, err := capture.NewReader(bufio.NewReader(file))
//	...
//	for {
//		rec, err := r.Next()
//		if err == io.EOF {
//			break
//		}
//		if err != nil {
//			return err
//		}
//		... // rec.Data is valid until the next call of Next
//	}
//
// A Reader is also a [consumer.Source], so code that reads rings can read captures.
//
// # Trust
//
// Files are not trusted. A file that does not follow the format causes an error that matches
// [ErrFormat]. Memory grows with the bytes read, not with the lengths that a file states.
package capture
