// Package userring examines and repairs the contents of a BPF user ring buffer: the samples between
// its positions, whether the kernel can drain them, and what a producer that died left in the ring.
// Only the producer of the ring may call [Restore]. [Diagnose] changes nothing and may run beside a
// producer.
package userring
