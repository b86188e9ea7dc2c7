package ring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/userprod"
)

// produced counts what produce has done so far. It may be read concurrently.
type produced struct {
	samples, bytes, dropped atomic.Uint64
}

// sampleWriter writes samples into a user ring buffer.
type sampleWriter struct {
	producer *userprod.Producer
	batch    *userprod.Batch
	onFull   string
	pace     pace
	counts   produced
}

func newSampleWriter(p *userprod.Producer, opts produceOptions) *sampleWriter {
	w := &sampleWriter{producer: p, onFull: opts.onFull.Value}
	if opts.rate > 0 {
		w.pace.interval = time.Duration(min(float64(time.Second)/float64(opts.rate), math.MaxInt64/2))
	}
	return w
}

// copy writes all samples of src. All written samples are published when it returns.
func (w *sampleWriter) copy(ctx context.Context, src *sampleReader) (err error) {
	if w.batch, err = w.producer.Batch(ctx); err != nil {
		return command.Interrupted(err)
	}
	defer func() { err = errors.Join(err, w.batch.End()) }()
	for {
		sample, err := src.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return command.Interrupted(err)
		}
		if err := w.write(ctx, sample); err != nil {
			if errors.Is(err, context.Canceled) {
				return command.Interrupted(err)
			}
			return src.at(err)
		}
	}
}

// publish publishes the written samples to the kernel.
func (w *sampleWriter) publish() error { return w.batch.Publish() }

func (w *sampleWriter) write(ctx context.Context, sample []byte) error {
	if err := w.pace.wait(ctx, w.publish); err != nil {
		return err
	}
	buf, err := w.room(ctx, len(sample))
	if errors.Is(err, userprod.ErrFull) && w.onFull == "drop" {
		w.counts.dropped.Add(1)
		return nil
	}
	if err != nil {
		return err
	}
	copy(buf, sample)
	w.counts.samples.Add(1)
	w.counts.bytes.Add(uint64(len(sample)))
	return nil
}

// room reserves n bytes in the ring. With --on-full wait it waits while the ring is full.
func (w *sampleWriter) room(ctx context.Context, n int) ([]byte, error) {
	if w.onFull == "wait" {
		return w.batch.Next(ctx, n)
	}
	buf, err := w.batch.TryNext(n)
	if errors.Is(err, userprod.ErrFull) {
		// The kernel can only drain published samples, to make room for the next ones.
		if err := w.publish(); err != nil {
			return nil, err
		}
	}
	return buf, err
}

// summary returns the line that produce prints at the end.
func (w *sampleWriter) summary() string {
	s, _ := w.producer.Stats() // zero if the ring is corrupt
	return fmt.Sprintf("%d samples, %d bytes, %d dropped, %d waited",
		w.counts.samples.Load(), w.counts.bytes.Load(), w.counts.dropped.Load(), s.Waits)
}

// pace spreads samples over time.
type pace struct {
	interval time.Duration // 0 writes as fast as possible
	next     time.Time     // when the next sample is due
}

// slack is how far ahead of its schedule a pace may run: a shorter sleep would be inexact.
const slack = time.Millisecond

// wait returns when the next sample is due. If it must sleep, it first calls before.
func (p *pace) wait(ctx context.Context, before func() error) error {
	if p.interval == 0 {
		return nil
	}
	now := time.Now()
	if p.next.Before(now) {
		p.next = now // the pace is late: do not catch up
	}
	due := p.next.Sub(now)
	p.next = p.next.Add(p.interval)
	if due == 0 || due < slack && p.interval < slack {
		return nil
	}
	if err := before(); err != nil {
		return err
	}
	command.Pause(ctx, due)
	return ctx.Err()
}

// rate is a flag for a number above 0, per second. It is 0 if the flag is not given.
type rate float64

func (r *rate) Set(text string) error {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || !(n > 0) { // also refuses NaN
		return errors.New("not a number above 0")
	}
	*r = rate(n)
	return nil
}

func (r *rate) Type() string { return "rate" }

func (r *rate) String() string { return strconv.FormatFloat(float64(*r), 'g', -1, 64) }
