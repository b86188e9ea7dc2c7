// Package userprod writes samples into BPF user ring buffers (BPF_MAP_TYPE_USER_RINGBUF, Linux
// 6.1), which programs in the kernel drain with bpf_user_ringbuf_drain. A write runs no program:
// samples stay in the ring until a program that drains it runs.
//
// The smallest use:
//
//	p, err := userprod.New(commands, userprod.Options{}) // commands: an *ebpf.Map
//	if err != nil {
//		return err
//	}
//	defer p.Close()
//	if err := p.Write(ctx, command); err != nil { // one sample; waits for room
//		return err
//	}
//
// # Ways to produce
//
//   - [Producer.Write] copies one sample into the ring.
//   - [Producer.Reserve] returns a [Sample]: memory of the ring to fill, and then to commit
//     or discard, from any goroutine at any time. Until then the sample is busy
//     (BPF_RINGBUF_BUSY_BIT), and it holds up those reserved after it.
//   - [Producer.Batch] gives the ring to one goroutine for a while, the fast way to write
//     many samples, published one by one or together: with [Batch.Next] of any size, with
//     the faster [Batch.Samples] of one size.
//   - [WriteAll] writes a slice of structs, one sample each, at memory speed.
//
// These methods wait for room until a context is done. [Producer.TryWrite], [Producer.TryReserve],
// [Batch.TryNext] and [TryWriteAll] fail with [ErrFull] instead. Samples that were not written because
// the ring was full are counted in its memory, where rbtool and package inspect show them: [Refused].
//
// # Concurrency
//
// Any number of goroutines may call the methods of Producer and Sample at once. A Batch belongs to
// the goroutine that began it. Until it ends, other goroutines wait in all calls that write, Try
// calls included, but not in Commit and Discard. The goroutine that has a Batch must write only
// through it: a call of the Producer that writes would wait for the end of that Batch. A goroutine
// that waits for room while it has busy samples may wait forever, because the kernel frees no room
// beyond them.
//
// # One producer
//
// The protocol allows one producer per ring. New claims the ring, and fails with [ErrBusy] while
// another Producer, in any process, has claimed it. The claim ends with Close or when the process
// ends. A process that dies may leave busy samples, at which the kernel would stop draining; the
// next New discards them.
//
// # Errors
//
// Errors wrap their causes: test for the variables of this package and for [os.ErrClosed] with
// errors.Is, and for [*BusyError] with errors.As. Once a call has found the ring corrupt or stolen,
// all later calls that write fail with the same error; only Close is left to do.
//
// # Trust
//
// Every process that has a descriptor of the map can write into the memory of the ring. If
// positions or headers differ from what the Producer wrote, calls fail with an error matching
// [ErrCorrupt]; they never fault or loop forever.
package userprod
