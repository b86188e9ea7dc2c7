package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/userring"
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

// userRing is the user ring buffer to produce into, and the refusals to override.
type userRing struct {
	user    string
	recover bool
	steal   bool
	unseen  bool
}

// overrideFlags adds the flags that override refusals.
func (u *userRing) overrideFlags(f *pflag.FlagSet) {
	f.BoolVar(&u.recover, "recover", false, "repair a corrupt ring: discard everything after the last valid sample")
	f.BoolVar(&u.steal, "steal", false, "take the ring from a process that may have ended or that does not have it mapped")
	f.BoolVar(&u.unseen, "ignore-unseen", false, "produce even if processes that cannot be seen may produce into the ring")
}

func newProduce() *cobra.Command {
	var opts produceOptions
	cmd := &cobra.Command{
		Use:   "produce --user MAP [FILE]",
		Short: "Write samples into a user ring buffer",
		Long: `Write the samples in FILE, or on standard input, into a user ring buffer. Programs in
the kernel drain it; rbtool drain loads one. Samples are published before the command
waits for input, and at least every 64 KiB.

Formats: lines, a sample per line, without the newline; hex and base64, an encoded sample
per line; lp32, the output of rbtool tail -o raw: each sample preceded by its length as 4
bytes little-endian; json, a value per line, in the form in which rbtool tail -o json shows
the data of a record, of the type that --type and --btf name. In JSON, a string that is not
UTF-8 is an array of its bytes.

If the input cannot be parsed, the command fails with the number of the line; the samples
before it are in the ring. At the end, a line on standard error shows how many samples and
bytes were written, how many samples were dropped, and how often the command waited.

A ring has one producer. If another process produces into the ring, it is refused with
status 5, even if that process is outside the container: the kernel counts producers in
all pid namespaces. Reading the count takes CAP_BPF and CAP_PERFMON; without them a ring is
refused while some processes cannot be seen, unless --ignore-unseen accepts that two
producers may overwrite each other's samples. Samples that a dead producer left half-written
are discarded. --steal takes the ring from a process that cannot be seen and may have ended,
and from any holder if no process has the ring mapped for producing. A live producer keeps
the ring.`,
		Example: `  seq 1 1000000 | rbtool produce --user /sys/fs/bpf/commands
  rbtool tail name:events -o raw | rbtool produce --user name:commands --format lp32
  rbtool produce --user id:12 --format json --type command --btf prog:34 commands.json`,
		Args: command.NonEmpty(cobra.MaximumNArgs(1)),
	}
	opts.format = &command.Choice{Value: "lines", Among: []string{"lines", "hex", "base64", "lp32", "json"}}
	opts.onFull = &command.Choice{Value: "wait", Among: []string{"wait", "drop", "fail"}}
	f := cmd.Flags()
	f.StringVar(&opts.user, "user", "", "write into this user ring buffer: a pin, id:NUMBER or name:NAME")
	f.Var(opts.format, "format", "parse the input as this")
	f.StringVar(&opts.typ, "type", "", "encode samples as this type (for --format json)")
	f.StringVar(&opts.btf, "btf", "", "read the type from FILE (BTF or ELF), prog:ID or kernel")
	f.Var(opts.onFull, "on-full", "wait for room, drop the sample, or fail")
	f.Var(&opts.rate, "rate", "write at most this many samples a second")
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

// check checks what does not depend on the machine's state.
func (o *produceOptions) check() error {
	asJSON := o.format.Value == "json"
	switch {
	case asJSON && (o.typ == "" || o.btf == ""):
		return command.Usagef("produce: --format json needs --type NAME and --btf FILE|prog:ID|kernel, to encode the samples")
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
	// Open the input first: a mistake there must not touch the ring.
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

// openProducer opens a user ring buffer for producing, and notes what it repaired.
func openProducer(stderr io.Writer, ring userRing) (*userprod.Producer, error) {
	m, err := inspect.Lookup(ring.user, ebpf.UserRingbuf)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	if ring.steal {
		if err := releaseForged(m); err != nil {
			return nil, err
		}
	}
	var refused error
	p, err := userprod.New(m, userprod.Options{
		Mend: ring.recover, Steal: ring.steal,
		Claimed: func() error {
			refused = refuseProduced(m, ring.unseen)
			return refused
		},
	})
	if refused != nil {
		return nil, refused
	}
	if err != nil {
		return nil, explainProducer(err)
	}
	found, err := p.Stats()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	if found.Abandoned > 0 {
		command.Note(stderr, "discarded %d samples that a dead producer left half-written", found.Abandoned)
	}
	if found.Mended != nil {
		command.Note(stderr, "the ring was mended: %v", found.Mended)
	}
	return p, nil
}

// refuseProduced returns an error if another process produces into the ring without a claim.
func refuseProduced(m *ebpf.Map, ignoreUnseen bool) error {
	rival, err := inspect.Rival(m)
	switch {
	case errors.Is(err, inspect.ErrUnseen) && ignoreUnseen:
		return nil
	case errors.Is(err, inspect.ErrUnseen):
		err = command.WithStatus(fmt.Errorf("another process may produce into the ring: %w", err), command.StatusBusy)
		return command.WithHint(err, "with CAP_BPF and CAP_PERFMON rbtool can tell; --ignore-unseen produces anyway")
	case err != nil:
		return fmt.Errorf("find its producer: %w", err)
	case rival != nil:
		return producedBy(describeRival(rival), "stop that process; a ring has one producer")
	}
	return nil
}

func producedBy(process, hint string) error {
	return command.WithHint(command.WithStatus(fmt.Errorf("produced into by %s", process), command.StatusBusy), "%s", hint)
}

// releaseForged releases the claim of a ring that no process has mapped for producing. A
// producer maps the ring before it claims it, so the claim is forged or its holder has ended.
func releaseForged(m *ebpf.Map) error {
	d, err := userring.Diagnose(m)
	if err != nil || !d.HolderAlive {
		return err
	}
	info, err := m.Info()
	if err != nil {
		return err
	}
	id, _ := info.ID()
	usage, err := inspect.Users(m)
	if err != nil {
		return fmt.Errorf("find its producer: %w", err)
	}
	produces := func(u inspect.User) bool { return u.Produces }
	if unseen, err := usage.Unseen(id); err != nil || unseen > 0 || slices.ContainsFunc(usage.Users[id], produces) {
		return nil // the claim decides
	}
	return userring.Release(m, d.Holder)
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
		return producedBy(command.DescribePID(busy.PID),
			"stop that process; a ring has one producer; --steal takes the ring if no process has it mapped")
	}
	if errors.Is(err, userprod.ErrCorrupt) {
		return command.WithHint(err, "--recover discards everything after the last valid sample")
	}
	return err
}
