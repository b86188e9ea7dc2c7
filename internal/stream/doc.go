// Package stream moves records from where they are to where they go:
//
//	Source ─────────▶ Types ─────────▶ Filter ──────▶ Format ─────▶ Sink
//	Rings             which type a     which          text, JSON,   Writer: a file or a pipe
//	ObservedRing      record has       records        hex, raw      Recorder: a capture file
//	Captures (files)                                                UserRing: samples for the kernel
//	                                                                Recent: the last few, for a screen
//	                                                                Discard: counts only
//
// A [Stream] runs the pipeline in batches until a limit is reached. [FindTypes] finds the types of a ring's
// records; Filter and Format decode with them.
//
// To add an output format, write a [Format] and name it in [NewFormat]. To add a destination, implement [Sink].
//
// # Delivery
//
// A consumed ring delivers each record at least once: it returns the space of records to the kernel only after
// [Sink.Flush] has returned nil for them. If the process is killed, the next one reads the
// other records again.
//
// # Concurrency
//
// One goroutine at a time uses a Stream and its parts. [Recent], and Close and Totals of a ring, may be called concurrently.
package stream
