// Package userring reads and repairs the contents of a BPF user ring buffer: the samples
// between its positions, whether the kernel can drain them, and what a dead producer left
// behind. Only the ring's producer may call [Restore]; [Diagnose] changes nothing and may
// run beside a producer.
package userring
