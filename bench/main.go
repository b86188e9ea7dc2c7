// Bench measures the library beside libbpf (in C) and cilium/ebpf. `make bench` runs it;
// README.md describes the method and the rows.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"regexp"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"github.com/rbtool/rbtool/bench/harness"
)

// roleEnv is the environment variable with the role of this process: the producer, which runs on
// one CPU and also sends the requests, or the Go peer, which consumes on another. The user starts
// the program without it.
const (
	roleEnv      = "RBTOOL_BENCH_ROLE"
	roleProducer = "producer"
	rolePeer     = "peer"
)

// cpusEnv is the environment variable with two CPU numbers, the producer's and the peers'.
const cpusEnv = "RBTOOL_BENCH_CPUS"

func main() {
	switch os.Getenv(roleEnv) {
	case rolePeer:
		servePeer()
		return
	case "":
		fmt.Fprintln(os.Stderr, "bench:", becomeProducer())
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// becomeProducer executes the program again as the producer. It returns only if that fails.
func becomeProducer() error {
	cpus, err := harness.CPUs()
	if err != nil {
		return err
	}
	if len(cpus) < 2 {
		return errors.New("the benchmarks need two CPUs, one for the producer and one for the consumer")
	}
	both := fmt.Sprintf("%s=%d %d", cpusEnv, cpus[0], cpus[1])
	return harness.Become(cpus[0], roleEnv+"="+roleProducer, both)
}

// options has the values of the command's flags.
type options struct {
	peer   string
	rounds int
	only   string
	quick  bool
	check  bool
	output string
	seed   uint64
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.StringVar(&o.peer, "peer", "build/bench-peer", "the C `program` to compare with")
	fs.IntVar(&o.rounds, "rounds", 15, "`number` of rounds")
	fs.StringVar(&o.only, "only", "", "run the benchmarks whose name matches the `regexp`")
	fs.BoolVar(&o.quick, "quick", false, "one round of little work: figures mean nothing, results are verified")
	fs.BoolVar(&o.check, "check", false, "fail if a claim does not hold")
	fs.StringVar(&o.output, "o", "text", "output `format`: text or json")
	fs.Uint64Var(&o.seed, "seed", rand.Uint64(), "`seed` of the order in each round")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.quick {
		o.rounds = 1
	}
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case o.rounds < 1:
		return o, fmt.Errorf("-rounds %d: must be positive", o.rounds)
	case o.output != "text" && o.output != "json":
		return o, fmt.Errorf("unknown output format %q (text or json)", o.output)
	}
	return o, nil
}

// report is the document that -o json prints.
type report struct {
	Host     host              `json:"host"`
	Rounds   int               `json:"rounds"`
	Seed     uint64            `json:"seed"`
	Results  []*harness.Result `json:"results"`
	Skipped  []string          `json:"skipped,omitempty"` // benchmarks that the kernel does not support, and why
	Verdicts []harness.Verdict `json:"verdicts"`
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	only, err := regexp.Compile(o.only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := newRig(ctx, o)
	if err != nil {
		return err
	}
	rep := report{Host: thisHost(), Rounds: o.rounds, Seed: o.seed}
	// JSON output is one document: progress and tables go to standard output only in text mode.
	text := stdout
	if o.output == "json" {
		text = io.Discard
	}
	rep.Host.write(text, o)
	err = errors.Join(rep.measure(ctx, r, only, text), r.close())
	if err != nil {
		return err
	}
	if o.output == "json" {
		enc := json.NewEncoder(stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(rep)
	} else {
		err = harness.WriteVerdicts(stdout, rep.Verdicts)
	}
	if err != nil {
		return err
	}
	return rep.failed(o.check)
}

// measure runs the benchmarks that match only, and writes the table of each to text when it ends.
func (rep *report) measure(ctx context.Context, r *rig, only *regexp.Regexp, text io.Writer) error {
	rng := rand.New(rand.NewPCG(rep.Seed, 0))
	for _, entry := range benchmarks {
		if !only.MatchString(entry.name) {
			continue
		}
		b, err := entry.new(r)
		if errors.Is(err, ebpf.ErrNotSupported) {
			rep.Skipped = append(rep.Skipped, fmt.Sprintf("%s: %v", entry.name, err))
			fmt.Fprintf(text, "%s: left out: %v\n\n", entry.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", entry.name, err)
		}
		b.Name = entry.name
		res, err := b.Measure(ctx, rep.Rounds, rng)
		if b.Close != nil {
			err = errors.Join(err, b.Close())
		}
		if err != nil {
			return err
		}
		rep.Results = append(rep.Results, res)
		for _, c := range b.Claims {
			rep.Verdicts = append(rep.Verdicts, c.Check(res))
		}
		if err := res.WriteTable(text); err != nil {
			return err
		}
	}
	if len(rep.Results)+len(rep.Skipped) == 0 {
		return fmt.Errorf("-only %q: no such benchmark", only)
	}
	return nil
}

// failed returns an error if check (the flag -check) is true and a claim does not hold.
func (rep *report) failed(check bool) error {
	n := 0
	for _, v := range rep.Verdicts {
		if !v.OK {
			n++
		}
	}
	if n > 0 && check {
		return fmt.Errorf("%d of %d claims do not hold", n, len(rep.Verdicts))
	}
	return nil
}
