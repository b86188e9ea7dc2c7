// Package fleet moves the records of rings into message engines, and tells afterwards where each came from.
//
//	stream.Stream ──▶ Forwarder ──▶ Sink: JetStream
//	                  a Batch of     Place: where the batches
//	                  each ring      of one ring are stored
//
// and back:
//
//	JetStream ──▶ Reader ──▶ stream.Stream
//
// A [Forwarder] is a [stream.Sink]. It collects the records of each ring in a [Batch] and, when the stream flushes, hands
// it to the [Place] of the ring. Flush returns nil only when the engine has acknowledged the batches, so a ring's space is
// freed only then: see [consumer.Options].BeforePublish.
//
// # Delivery
//
// A place knows the last batch that is stored in it. A forwarder that starts skips what that batch covers, so a record that
// was stored and not yet consumed is not stored twice. A place also fences: if another writer has stored a batch since, Store fails
// with an error matching [ErrFenced]. So each position of a ring is stored once, in order, whoever is killed.
//
// # Concurrency
//
// One goroutine at a time uses a Forwarder. A Forwarder uses several places at once, each from one goroutine.
package fleet
