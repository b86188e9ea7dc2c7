package ring

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/userprod"
)

// produceOptions are the flags of produce.
type produceOptions struct {
	format   *command.Choice
	onFull   *command.Choice
	typ, btf string
	rate     command.Rate
	userRing
}

// userRing is what to produce into, and what to override for it.
type userRing struct {
	user    string
	recover bool
	steal   bool
	unseen  bool
}

// overrideFlags adds those that explainProducer names.
func (u *userRing) overrideFlags(f *pflag.FlagSet) {
	f.BoolVar(&u.recover, "recover", false, "throw away what makes a corrupt ring unusable")
	f.BoolVar(&u.steal, "steal", false, "take the ring from a process that may have ended, or that does not have it mapped")
	f.BoolVar(&u.unseen, "ignore-unseen", false, "produce even if hidden processes may produce into the ring")
}

func newProduce() *cobra.Command {
	var opts produceOptions
	cmd := &cobra.Command{
		Use:   "produce --user MAP [FILE]",
		Short: "Write samples into a user ring buffer",
		Long: `Write the samples in FILE, or on standard input, into a user ring buffer, from
where programs in the kernel take them (rbtool drain is one). Samples are published
when more input has to be waited for, at the latest after 64 KiB.

Formats: lines, each line a sample without its newline; hex and base64, one sample
a line; lp32, what rbtool tail -o raw writes: each sample preceded by its length
as 4 bytes little-endian; json, one value a line, as rbtool tail -o json shows
the data of a record of the type that --type and --btf name: a string that is not
UTF-8 is an array of its bytes.

Input that cannot be parsed ends the command with the number of the line; what
came before is in the ring. At the end one line on standard error says how many
samples and bytes were written, how many were dropped, and how often it waited.

A ring has one producer: one into which another process produces is refused
with status 5, even if that process is outside the container: the kernel counts
producers in all pid namespaces. Reading the count takes CAP_BPF and CAP_PERFMON; without
them a ring is refused while processes are hidden, unless --ignore-unseen accepts that two
producers may overwrite each other's samples. Samples that a dead producer left
half-written are discarded. --steal takes the ring from a process that cannot be seen and
may have ended, and from any holder if no process has the ring mapped for producing; a
live producer keeps it.`,
		Example: `  seq 1 1000000 | rbtool produce --user /sys/fs/bpf/commands
  rbtool tail name:events -o raw | rbtool produce --user name:commands --format lp32
  rbtool produce --user id:12 --format json --type command --btf prog:34 commands.json`,
		Args: command.NonEmpty(cobra.MaximumNArgs(1)),
	}
	opts.format = &command.Choice{Value: "lines", Among: []string{"lines", "hex", "base64", "lp32", "json"}}
	opts.onFull = &command.Choice{Value: "wait", Among: []string{"wait", "drop", "fail"}}
	f := cmd.Flags()
	f.StringVar(&opts.user, "user", "", "the user ring buffer: a pin, id:NUMBER or name:NAME")
	f.Var(opts.format, "format", "what the input is")
	f.StringVar(&opts.typ, "type", "", "the samples' type, for --format json")
	f.StringVar(&opts.btf, "btf", "", "where the type is: FILE (BTF or ELF), prog:ID or kernel")
	f.Var(opts.onFull, "on-full", "wait for room, drop the sample, or fail")
	f.Var(&opts.rate, "rate", "write at most so many samples a second")
	opts.overrideFlags(f)
	_ = cmd.MarkFlagRequired("user")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(); err != nil {
			return err
		}
		file := "-"
		if len(args) > 0 {
			file = args[0]
		}
		return produce(cmd.Context(), cmd.InOrStdin(), cmd.ErrOrStderr(), file, opts)
	}
	return cmd
}

// check finds what is wrong whatever the machine's state.
func (o *produceOptions) check() error {
	asJSON := o.format.Value == "json"
	switch {
	case asJSON && (o.typ == "" || o.btf == ""):
		return command.Usagef("produce: --format json needs --type NAME and --btf FILE|prog:ID|kernel, to know what to make of it")
	case !asJSON && (o.typ != "" || o.btf != ""):
		return command.Usagef("produce: --type and --btf go with --format json")
	}
	return nil
}

func produce(ctx context.Context, stdin io.Reader, stderr io.Writer, file string, opts produceOptions) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("produce %s: %w", opts.user, err)
		}
	}()
	// What the input needs first, so that a mistake leaves the ring alone.
	encode, err := opts.encoder()
	if err != nil {
		return err
	}
	in, err := openInput(ctx, stdin, file)
	if err != nil {
		return err
	}
	defer in.Close()
	p, err := openProducer(stderr, opts.userRing)
	if err != nil {
		return err
	}
	w := newSampleWriter(p, opts)
	src := newSampleReader(&input{ctx: ctx, r: in, before: w.publish}, opts.format.Value, p.MaxSample(), encode)
	stop := showProgress(stderr, &w.counts)
	err = w.copy(ctx, src)
	stop()
	fmt.Fprintln(stderr, w.summary())
	return errors.Join(err, p.Close())
}

// openProducer opens the ring for writing.
func openProducer(stderr io.Writer, ring userRing) (*userprod.Producer, error) {
	m, err := inspect.Lookup(ring.user, ebpf.UserRingbuf)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	p, err := userprod.New(m, userprod.Options{Mend: ring.recover, Steal: ring.steal, IgnoreUnseen: ring.unseen})
	if err != nil {
		return nil, explainProducer(err)
	}
	found := p.Recovered()
	if found.Abandoned > 0 {
		command.Note(stderr, "%d samples that a dead producer left behind were discarded", found.Abandoned)
	}
	if found.Mended != nil {
		command.Note(stderr, "the ring was mended: %v", found.Mended)
	}
	return p, nil
}

// explainProducer adds a hint to the error of a ring that cannot be written.
func explainProducer(err error) error {
	busy, ok := errors.AsType[*userprod.BusyError](err)
	switch {
	case ok && busy.Stolen:
		return err
	case ok && busy.Unseen:
		return unseenHolder(err)
	case ok:
		process := command.DescribePID(busy.PID)
		hint := "stop that process; a ring has one producer; --steal takes the ring if no process has it mapped"
		if busy.Foreign {
			process, hint = command.DescribeForeign(busy.PID), "stop that process; a ring has one producer"
		}
		return command.WithHint(command.WithStatus(fmt.Errorf("produced into by %s", process), command.StatusBusy), "%s", hint)
	}
	if errors.Is(err, userprod.ErrUnseen) {
		return command.WithHint(err, "with CAP_BPF and CAP_PERFMON rbtool can tell; --ignore-unseen produces anyway")
	}
	if errors.Is(err, userprod.ErrCorrupt) {
		return command.WithHint(err, "--recover discards everything after the last valid sample")
	}
	return err
}
