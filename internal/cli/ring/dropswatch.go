package ring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpf/userdrains"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// lossWatch counts the losses of rings, and samples how full they are. One goroutine at a time may use it.
type lossWatch struct {
	opts      *dropsOptions
	grows     bool // rings may come later
	counter   *drops.Counter
	refused   error // why nothing can be counted, or nil
	drains    *userdrains.Counter
	undrained error // why drains of user ring buffers cannot be counted, or nil
	sampler   *inspect.Sampler
	began     time.Time
	looked    time.Time // when rings were last looked for
	rings     map[ebpf.MapID]*lossRing
	others    []error // of references to pins that are no rings

	advised map[ebpf.MapID]*drops.Advisor
	last    *drops.Report // of the counter, or nil
}

// lossRing is a ring whose losses are counted.
type lossRing struct {
	id      ebpf.MapID
	name    string
	typ     ebpf.MapType
	size    uint64
	flow    *inspect.Flow // of the last sample; nil if its positions are unknown
	before  time.Duration // for which it was full before the watch began
	counted *drops.Ring   // nil if nothing was counted of it
}

// How often positions are sampled: shorter pauses of a consumer, and shorter bursts, are not seen. Where nothing can be counted,
// samples are all there is.
const (
	dropsEvery     = 50 * time.Millisecond
	uncountedEvery = 10 * time.Millisecond
)

// newLossWatch finds the rings and starts to count.
func newLossWatch(opts *dropsOptions) (*lossWatch, error) {
	w := &lossWatch{
		opts: opts, rings: map[ebpf.MapID]*lossRing{}, advised: map[ebpf.MapID]*drops.Advisor{},
		sampler: inspect.NewSampler(inspect.SamplerOptions{Options: inspect.Options{SkipPrograms: true, SkipPins: true}}),
	}
	if err := w.start(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *lossWatch) start() error {
	rings := &w.opts.rings
	found, outer, err := rings.find(true)
	if err != nil {
		return err
	}
	w.others = rings.others
	w.grows = outer || rings.open() || len(rings.pids) > 0
	if err := w.add(found); err != nil {
		return err
	}
	// The first sample takes longest, since it loads the iterators: take it before the count begins.
	if _, err := w.sampler.Sample(); err != nil {
		return fmt.Errorf("drops: %w", err)
	}
	if err := w.count(); err != nil {
		return err
	}
	w.countDrains()
	if err := w.tick(); err != nil {
		return err
	}
	w.began = time.Now()
	for _, r := range w.rings {
		if r.flow != nil {
			r.before = r.flow.Saturated
		}
	}
	return nil
}

// count starts the counter. If no engine works, it sets refused.
func (w *lossWatch) count() (err error) {
	opts := drops.Options{Engine: engines[slices.Index(w.opts.engine.Among, w.opts.engine.Value)]}
	for id, r := range w.rings {
		if r.typ == ebpf.RingBuf && !w.grows {
			opts.Maps = append(opts.Maps, id)
		}
	}
	if len(opts.Maps) == 0 && !w.grows {
		return nil // their producers count what user ring buffers refuse
	}
	w.counter, err = drops.New(opts)
	if err == nil {
		return nil
	}
	explained := command.CannotCount("drops", err)
	if !command.IsCannotCount(err) {
		return explained
	}
	w.refused = explained
	return nil
}

// add adds rings that were found, unless it has them, and closes them.
func (w *lossWatch) add(found []chosen) error {
	var watched []chosen // for advice
	for _, f := range found {
		if w.rings[f.id] == nil {
			w.rings[f.id] = &lossRing{id: f.id, name: f.name, typ: f.Type(), size: uint64(f.MaxEntries())}
			if w.opts.advise && f.Type() == ebpf.RingBuf {
				watched = append(watched, f)
			}
		}
	}
	err := w.advise(watched)
	for _, f := range found {
		f.Close()
	}
	w.looked = time.Now()
	return err
}

// advise starts to watch the records of rings. It looks for the consumers of all of them at once, which takes as long as for one.
// A ring that is not observed because of its kind gets no advice.
func (w *lossWatch) advise(rings []chosen) error {
	if len(rings) == 0 {
		return nil
	}
	var maps []*ebpf.Map
	for _, f := range rings {
		maps = append(maps, f.Map)
	}
	usage, err := inspect.Users(maps...)
	if err != nil {
		return fmt.Errorf("find the consumers: %w", err)
	}
	for _, f := range rings {
		var consumers []uint32
		for _, u := range usage.Users[f.id] {
			if u.Consumes {
				consumers = append(consumers, uint32(u.PID))
			}
		}
		a, err := drops.NewAdvisor(f.Map, consumers...)
		if errors.Is(err, ebpf.ErrNotSupported) {
			continue // in overwrite mode on machines that reorder stores
		}
		if err != nil {
			return fmt.Errorf("drops %s: %w", f.name, err)
		}
		w.advised[f.id] = a
	}
	return nil
}

// run takes samples until ctx is done. After each, it calls each, unless that is nil.
func (w *lossWatch) run(ctx context.Context, each func() error) error {
	interval := dropsEvery
	if w.refused != nil {
		interval = uncountedEvery
	}
	every := time.NewTicker(interval)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.tick()
		case <-every.C:
		}
		if w.grows && time.Since(w.looked) >= time.Second {
			// Rings that cannot be looked for now are looked for the next time.
			if found, _, err := w.opts.rings.find(false); err == nil {
				if err := w.add(found); err != nil {
					return err
				}
			}
			w.looked = time.Now()
		}
		if err := w.tick(); err != nil {
			return err
		}
		if each != nil {
			if err := each(); err != nil {
				return err
			}
		}
	}
}

// read reads the counter.
func (w *lossWatch) read() error {
	if w.counter == nil {
		return nil
	}
	report, err := w.counter.Read()
	if err != nil {
		return fmt.Errorf("drops: %w", err)
	}
	w.last = report
	w.take(report)
	return nil
}

// tick takes a sample of the positions. For advice it reads the counter, too.
func (w *lossWatch) tick() error {
	if len(w.advised) > 0 {
		if err := w.read(); err != nil {
			return err
		}
	}
	for id, a := range w.advised {
		refused := uint64(0)
		if r := w.rings[id].counted; r != nil {
			refused = r.FailedBytes
		}
		a.Note(refused)
	}
	sample, err := w.sampler.Sample()
	if err != nil {
		return fmt.Errorf("drops: %w", err)
	}
	for i := range sample.Maps {
		if r := w.rings[sample.Maps[i].ID]; r != nil {
			r.flow = sample.Maps[i].Flow
		}
	}
	return nil
}

// take gives the rings what was counted of them. With --all it adds rings that have come and gone meanwhile.
func (w *lossWatch) take(report *drops.Report) {
	for i := range report.Rings {
		counted := &report.Rings[i]
		r := w.rings[counted.ID]
		if r == nil && w.opts.rings.all {
			name := counted.Name
			if name == "" {
				name = fmt.Sprintf("id:%d", counted.ID)
			}
			r = &lossRing{id: counted.ID, name: name, typ: ebpf.RingBuf, size: counted.Size}
			w.rings[counted.ID] = r
		}
		if r != nil {
			r.counted = counted
		}
	}
}

// close stops the count. Nothing of it is left.
func (w *lossWatch) close() (err error) {
	if w.counter != nil {
		err = w.counter.Close()
	}
	if w.drains != nil {
		err = errors.Join(err, w.drains.Close())
	}
	for _, a := range w.advised {
		err = errors.Join(err, a.Close())
	}
	return errors.Join(err, w.sampler.Close())
}
