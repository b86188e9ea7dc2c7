package fleet

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// subject is a Place: the messages of one subject.
type subject struct {
	*JetStream
	name   string
	kick   <-chan struct{}
	seq    uint64 // of the last message that this place knows, 0 if there is none
	stored *Batch // in it
}

// look finds the last message.
func (p *subject) look(ctx context.Context) (err error) {
	p.seq, p.stored, err = p.last(ctx, p.name)
	return err
}

// Stored implements [Place].
func (p *subject) Stored() *Batch { return p.stored }

// Limit implements [Place].
func (p *subject) Limit() int {
	limit := int(p.nc.MaxPayload())
	if p.limit > 0 {
		limit = min(limit, int(p.limit))
	}
	return limit - headerRoom
}

// Store implements [Place].
func (p *subject) Store(ctx context.Context, b *Batch) error {
	waited := false
	for pause := firstPause; ; pause = nextPause(pause) {
		stored, err := p.try(ctx, p.message(b), b)
		switch {
		case stored:
			p.stored = b.withoutBody()
			if waited {
				p.opts.state("")
			}
			return nil
		case p.final(err):
			return fmt.Errorf("store %d records of ring %s in %s: %w", b.Records, b.Ring, p.name, err)
		case err != nil:
			waited = true
			p.opts.state(plain(err))
		}
		if err := pauseFor(ctx, pause, p.kick); err != nil {
			return err
		}
	}
}

// message returns the message for a batch, which the server stores only behind the last message that the place knows.
func (p *subject) message(b *Batch) *nats.Msg {
	msg := &nats.Msg{Subject: p.name, Header: nats.Header{}, Data: b.Body}
	for name, value := range b.Header() {
		msg.Header.Set(name, value)
	}
	msg.Header.Set(jetstream.ExpectedStreamHeader, p.address.Stream)
	msg.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(p.seq, 10))
	return msg
}

// final reports whether to try again is of no use.
func (p *subject) final(err error) bool {
	return errors.Is(err, ErrFenced) || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrRefused) || errors.Is(err, ErrFormat) || p.ctx.Err() != nil
}

// try sends a message once, and finds out whether it was stored. Without an error and not stored, another attempt can succeed at
// once: the expected sequence number was wrong.
func (p *subject) try(ctx context.Context, msg *nats.Msg, b *Batch) (stored bool, err error) {
	attempt, stop := p.attempt(ctx)
	ack, err := p.js.PublishMsg(attempt, msg, jetstream.WithRetryAttempts(0))
	over := context.Cause(attempt)
	stop()
	if err == nil {
		p.seq = ack.Sequence
		return true, nil
	}
	if cause := context.Cause(p.ctx); cause != nil {
		return false, cause
	}
	if over != nil {
		err = over
	}
	api, isAPI := errors.AsType[*jetstream.APIError](err)
	switch {
	case errors.Is(err, nats.ErrMaxPayload), isAPI && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return false, fmt.Errorf("%w: %d bytes", ErrTooLarge, len(b.Body))
	case isAPI && api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequence && api.ErrorCode != jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return false, fmt.Errorf("the server does not store batches: %s", api.Description)
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, jetstream.ErrNoStreamResponse):
		return false, err // it was not sent, or nobody got it
	}
	stored, settled := p.settle(ctx, b)
	if settled != nil || stored || isAPI {
		return stored, settled
	}
	return false, err
}

// settle finds out whether b was stored by an attempt whose acknowledgment did not come, and what the last message is.
func (p *subject) settle(ctx context.Context, b *Batch) (stored bool, err error) {
	seq, last, err := p.last(ctx, p.name)
	switch {
	case err != nil:
		return false, err
	case seq == p.seq:
		return false, nil
	case seq < p.seq: // the last messages were deleted, or too old
	case last.Writer == b.Writer && last.Same(b.Identity) && last.To == b.To:
		stored = true
	case last.Writer == b.Writer && last.Same(b.Identity):
		b.deduct(last) // the forwarder dropped it, and now tells so with b
	default:
		return false, fmt.Errorf("%w: one on host %s has stored position %d", ErrFenced, last.Host, last.To)
	}
	p.seq = seq
	return stored, nil
}
