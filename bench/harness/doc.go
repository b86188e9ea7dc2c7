// Package harness compares contenders in interleaved rounds, each in another order, as ratios
// to a base that is measured twice. It is independent of rings.
//
// The first contender of a [Benchmark] is the base, the second is the base again: the distance
// of the two is the noise of the run, and smaller differences mean nothing.
// [Benchmark.Measure] runs the rounds, a [Result] has medians and spread, a [Claim] is a limit
// for them.
//
// Contenders run in peers: processes that are bound to a CPU, serve one request at a time
// ([Peer], [Serve]) and answer with numbers. So contenders in C and in Go are driven alike, and
// none pays for the garbage of another.
package harness
