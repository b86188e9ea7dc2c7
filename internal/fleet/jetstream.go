package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// JetStream is a Sink that stores batches in a stream of NATS JetStream: those of a ring as the messages of the subject that
// [Subject] returns.
type JetStream struct {
	address Address
	opts    *NATSOptions
	nc      *nats.Conn
	js      jetstream.JetStream
	stream  jetstream.Stream
	limit   int32 // of a message of the stream, or -1

	ctx    context.Context // ends with an error that concerns all places
	cancel context.CancelCauseFunc
	kicks  kicks
}

// ackWait is how long a message may wait for its acknowledgment before its place finds out what became of it.
const ackWait = 5 * time.Second

// headerRoom is what of a message a body leaves to its header, in bytes.
const headerRoom = 4096

// OpenJetStream connects to a server and looks at the stream. If create is set, it makes a stream that does not exist: with
// the subjects below its name, in files, without limits. Errors match [ErrNoStream], [ErrRefused] or [ErrAway].
func OpenJetStream(ctx context.Context, a Address, opts NATSOptions, create bool) (*JetStream, error) {
	j := &JetStream{address: a, opts: &opts}
	j.ctx, j.cancel = context.WithCancelCause(context.Background())
	var err error
	if j.nc, err = dial(a.Server, &opts, j.kicks.kick, j.cancel); err != nil {
		return nil, err
	}
	if j.js, err = jetstream.New(j.nc); err == nil {
		err = j.find(ctx, create)
	}
	if err != nil {
		j.Close()
		return nil, fmt.Errorf("stream %s: %w", a.Stream, err)
	}
	return j, nil
}

// find looks for the stream.
func (j *JetStream) find(ctx context.Context, create bool) (err error) {
	ctx, stop := j.attempt(ctx)
	defer stop()
	j.stream, err = j.js.Stream(ctx, j.address.Stream)
	if create && errors.Is(err, jetstream.ErrStreamNotFound) {
		j.stream, err = j.js.CreateStream(ctx, jetstream.StreamConfig{Name: j.address.Stream, Subjects: []string{j.address.Stream + ".>"}})
	}
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return ErrNoStream
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled),
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: it has no JetStream for this account", ErrRefused)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("%w: %s", ErrRefused, plain(err))
	}
	config := j.stream.CachedInfo().Config
	j.limit = config.MaxMsgSize
	for _, subject := range config.Subjects {
		if subject == j.address.Stream+".>" || subject == j.address.Stream+".*.*" || subject == ">" {
			return nil
		}
	}
	return fmt.Errorf("%w: its subjects are %s, not %s.>", ErrRefused, strings.Join(config.Subjects, ", "), j.address.Stream)
}

// errLost ends what waits for an answer over a connection that was lost.
var errLost = errors.New("the connection is lost")

// attempt returns a context for one request. It ends with ctx, or with all places, or with the connection, or after [ackWait].
func (j *JetStream) attempt(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	closed := context.AfterFunc(j.ctx, func() { cancel(context.Cause(j.ctx)) })
	lost := context.AfterFunc(j.kicks.until(), func() { cancel(errLost) })
	timed, stop := context.WithTimeoutCause(ctx, ackWait, errNoAnswer)
	return timed, func() { stop(); closed(); lost(); cancel(nil) }
}

// errNoAnswer ends what waits for an answer for too long.
var errNoAnswer = errors.New("the server does not answer")

// Open implements [Sink].
func (j *JetStream) Open(ctx context.Context, id Identity) (Place, error) {
	p := &subject{JetStream: j, name: Subject(j.address.Stream, id.Host, id.Ring), kick: j.kicks.add()}
	for pause := firstPause; ; pause = nextPause(pause) {
		err := p.look(ctx)
		if err == nil || errors.Is(err, ErrFormat) || errors.Is(err, ErrRefused) {
			return p, err
		}
		j.opts.state(fmt.Sprintf("cannot read the last batch of %s: %v", p.name, plain(err)))
		if err := pauseFor(ctx, pause, p.kick); err != nil {
			return nil, err
		}
	}
}

// Close closes the connection.
func (j *JetStream) Close() error {
	j.cancel(errClosed)
	j.nc.SetDisconnectErrHandler(nil) // it would report the end of the connection as a loss
	j.nc.Close()
	return nil
}

var errClosed = errors.New("the connection is closed")

// lastMessage is the answer of the server to a request for the last message of a subject.
type lastMessage struct {
	Error   *jetstream.APIError `json:"error"`
	Message struct {
		Seq    uint64 `json:"seq"`
		Header []byte `json:"hdrs"`
	} `json:"message"`
}

// last returns the sequence number and the batch, without body, of the last message of a subject, 0 and nil if there is none.
// The leader of the stream answers: a follower, which nats.go would ask, may not know the last message yet.
func (j *JetStream) last(ctx context.Context, subject string) (uint64, *Batch, error) {
	ctx, stop := j.attempt(ctx)
	defer stop()
	ask, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return 0, nil, err
	}
	answer, err := j.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+j.address.Stream, ask)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return 0, nil, err
	}
	var m lastMessage
	if err := json.Unmarshal(answer.Data, &m); err != nil {
		return 0, nil, err
	}
	if m.Error != nil && m.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return 0, nil, nil
	}
	if m.Error != nil {
		return 0, nil, m.Error
	}
	h, err := nats.DecodeHeadersMsg(m.Message.Header)
	if err != nil {
		return 0, nil, fmt.Errorf("last message of %s: %w: %w", subject, ErrFormat, err)
	}
	b, err := ParseBatch(h.Get, nil)
	if err != nil {
		return 0, nil, fmt.Errorf("last message of %s: %w", subject, err)
	}
	return m.Message.Seq, b, nil
}
