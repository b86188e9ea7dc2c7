// Package stream moves records from where they are to where they go:
//
//	Source ───▶ Filter ───▶ Format ───▶ Sink
//
//	a consumed ring         text, JSON,     Writer: a file or a pipe
//	an observed ring        hex, raw        Recorder: a capture file
//	a capture file                          UserRing: samples for the kernel
//	                                        Recent: the last few, for a screen
//
// [Types] finds the record types of a ring: Filter and Format decode with them. [Stream] runs the
// pipeline, batch by batch, until a limit is reached. To add an output format, write a [Format]; to
// add a destination, implement [Sink].
//
// # Delivery
//
// A consumed ring delivers each record at least once. The source gives the space of a record back to the
// kernel only after [Sink.Flush] has returned nil, so a process that is killed at any point reads the
// records again that its sink had not acknowledged.
//
// A Stream and its parts belong to one goroutine, except [Recent].
package stream
