// Package harness compares contenders: ways of doing the same work. It runs all of them in each of
// several rounds, in random order, and computes their ratios to a base that is measured twice. It
// is independent of rings.
//
// The first contender of a [Benchmark] is the base, and the second does the same work in the same
// way: the difference between the two is the noise of the run, and smaller differences mean
// nothing. [Benchmark.Measure] runs the rounds, a [Result] has medians and spreads, and a [Claim]
// is a limit for them.
//
// Contenders run in peers: processes that are bound to a CPU, serve one request at a time ([Peer],
// [Serve]) and answer with numbers. Contenders in C and in Go are therefore started in the same
// way, and garbage collection of one peer does not slow down another.
package harness
