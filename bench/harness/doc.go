// Package harness measures things beside each other: in interleaved rounds, in
// another order every round, as ratios to a base that is measured twice. It
// knows nothing of rings.
//
// A [Benchmark] has contenders, the first of which is the base and the second
// the base once more: how far the two are apart is the noise of the run, and no
// difference below it means anything. [Benchmark.Measure] runs the rounds,
// [Result] tells medians and spread, [Claim] holds what is wanted against it.
//
// Contenders run in peers: processes that are bound to a CPU of their own,
// serve one request at a time ([Peer], [Serve]) and answer with numbers. So a
// contender in C and one in Go are driven alike, and the garbage of one is not
// collected in the time of another.
package harness
